// Without this script the page shows both pictures beside each other; with it, one over the other with a border to move.
for (const wipe of document.querySelectorAll(".wipe")) {
  const range = wipe.querySelector("input");
  const show = () => wipe.style.setProperty("--cut", range.value + "%");
  range.addEventListener("input", show);
  wipe.hidden = false;
  show();
}
