// Without this script two pictures stand side by side; with it, one lies over the other with a border to move.
for (const wipe of document.querySelectorAll(".wipe")) {
  const range = wipe.querySelector("input");
  const show = () => wipe.style.setProperty("--cut", range.value + "%");
  range.addEventListener("input", show);
  wipe.classList.add("live");
  show();
}
