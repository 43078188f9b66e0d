"""The page that a bundle's receiver reads first."""

from __future__ import annotations

from pathlib import Path

from ..runtime.manifest import Artefact, Manifest
from ..runtime.parity import TOLERANCES

_HEAD = """# {name}

A face restorer for phones and cameras, made by PocketFace {version} on {created}.

Give it one aligned face, get the same face restored. RGB, values in [0, 1], aligned by five landmarks (eyes, nose tip,
mouth corners) to the FFHQ template: for a face of 512 pixels a side the landmarks belong at (193, 240), (319, 240),
(257, 314), (201, 371), (313, 371); other sizes in proportion. TFLite files take and give rows x columns x channels
(NHWC), the others channels first (NCHW). Scaling and clamping are inside the files.

Weights: {licence}. Checkpoint sha256 `{sha256}`. What they were trained on is in `manifest.json`.

| file | target | precision | bytes | input | runs on | worst face, dB | mean, dB | tolerated, dB | measured with |
|---|---|---|---|---|---|---|---|---|---|
"""

_TAIL = """
dB are PSNR against the PyTorch student on {faces} real degraded faces; higher is closer, 48 dB is one grey level.
{remarks}
`golden/` holds those faces and the student's answers as raw little-endian float32, (N, 3, S, S), for a test on the
device. `app/` holds code that aligns, restores and runs that test (Swift for Core ML, Kotlin and C for TFLite), and
scripts that measure speed on a phone and a Mac. `pocketface verify FOLDER` proves this bundle again: hashes, weights,
and every file run on the golden faces.
"""

_MIL = """`mil` computes what a Core ML package says where there is no Core ML: it proves graph and weights, not Apple's
arithmetic.
"""
_INT8 = """int8 in ONNX and TFLite means 8-bit weights and activations, with the first block and the last addition in
float; in Core ML 8-bit weights and half-precision arithmetic. `_uint8` and `_image` files take and give 8-bit pixels.
"""


def write_readme(folder: Path, manifest: Manifest) -> None:
    """Write README.md into a bundle."""
    head = _HEAD.format(
        name=manifest.name,
        version=manifest.tools.get("pocketface", ""),
        created=manifest.created[:10],
        licence=manifest.source.licence,
        sha256=manifest.source.sha256,
    )
    used = manifest.artefacts
    remarks = _MIL if any(artefact.parity.engine == "mil" for artefact in used) else ""
    remarks += _INT8 if any(artefact.precision == "int8" for artefact in used) else ""
    tail = _TAIL.format(faces=used[0].parity.faces, remarks=remarks)
    text = head + "\n".join(_row(artefact) for artefact in used) + "\n" + tail
    (folder / "README.md").write_text(text, encoding="utf-8")


def _row(artefact: Artefact) -> str:
    given, parity = artefact.inputs[0], artefact.parity
    shape = " x ".join(str(side) for side in given.shape)
    cells = (
        artefact.file.path, artefact.target, artefact.precision, f"{artefact.file.bytes:,}", f"{given.dtype} {shape}",
        f"{artefact.min_runtime} or newer", f"{parity.min_psnr_db:.1f}", f"{parity.mean_psnr_db:.1f}",
        f"{TOLERANCES[artefact.precision].min_psnr_db:g}", parity.engine,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"
