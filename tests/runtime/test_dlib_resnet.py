"""The port of dlib's ResNet, against dlib itself."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from pocketface.runtime.errors import BackendError, CheckpointError, ContractError
from pocketface.runtime.faces.align import FFHQ, align_face, estimate_similarity
from pocketface.runtime.models import dlib_resnet
from pocketface.runtime.models.dlib_resnet import DLIB, PACKAGE, DlibResNet, find_dlib_weights, load_dlib_resnet
from pocketface.runtime.models.identity import faces_to_identity_crops

needs_weights = pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"pip install {PACKAGE}")


@pytest.fixture(scope="module")
def network() -> DlibResNet:
    return load_dlib_resnet()


@pytest.fixture(scope="module")
def dlib() -> Any:
    return pytest.importorskip("dlib", reason="pip install dlib-bin")


@needs_weights
def test_descriptors_are_those_of_dlib(network: DlibResNet, dlib: Any) -> None:
    chip = np.ascontiguousarray(skimage.data.astronaut()[35:185, 150:300])
    chips = [chip, np.ascontiguousarray(chip[:, ::-1]), cv2.GaussianBlur(chip, (0, 0), 3.0)]
    reference = dlib.face_recognition_model_v1(str(find_dlib_weights()))
    expected = np.array([np.array(reference.compute_face_descriptor(face)) for face in chips])
    with torch.inference_mode():
        found = network.describe(torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() / 255).numpy()
    # Measured 3e-7 on faces whose descriptors differ by 0.1-0.6: the sums are the same, in another order.
    np.testing.assert_allclose(found, expected, atol=1e-5)


@needs_weights
def test_embeddings_have_unit_length_and_pass_gradients(network: DlibResNet) -> None:
    faces = torch.rand(2, 3, 64, 64, requires_grad=True)
    embeddings = network(faces_to_identity_crops(faces, DLIB))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))
    embeddings[0, 0].backward()
    assert faces.grad is not None
    assert faces.grad[0].abs().max() > 0
    assert faces.grad[1].abs().max() == 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


@needs_weights
def test_other_chips_are_refused(network: DlibResNet) -> None:
    with pytest.raises(ContractError, match="150"):
        network(torch.rand(1, 3, 112, 112))


@needs_weights
@pytest.mark.parametrize("kept", [0, 1000, 22_000_000], ids=["empty", "head", "nearly whole"])
def test_truncated_weights_are_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "weights.dat"
    path.write_bytes(find_dlib_weights().read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"weights\.dat"):
        load_dlib_resnet(path)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file"):
        load_dlib_resnet(tmp_path / "weights.dat")


@pytest.mark.parametrize(
    "content", [b"\x01\x05con_4", b"\x01\x05con_4\x01\x02\x01", b"\x01\x04fc_2\x01\x80"], ids=["tag", "extents", "head"]
)
def test_files_that_end_within_a_layer_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.dat").write_bytes(content)
    with pytest.raises(CheckpointError, match="dlib's format"):
        load_dlib_resnet(tmp_path / "weights.dat")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlib_resnet, "PACKAGE", "a_package_that_nobody_made")
    with pytest.raises(BackendError, match="pip install"):
        find_dlib_weights()


@needs_weights
def test_resampled_chips_describe_the_person_that_dlib_sees(network: DlibResNet, dlib: Any, shared: Path) -> None:
    predictor = dlib.shape_predictor(str(find_dlib_weights().parent / "shape_predictor_5_face_landmarks.dat"))
    detector = dlib.get_frontal_face_detector()
    with (shared / "faces" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] == "london_ccby"][:6]
    for row in rows:
        image = np.asarray(Image.open(shared / "faces" / row["file"]).convert("RGB"))
        landmarks = np.array([float(value) for value in row["landmarks5"].split()]).reshape(5, 2)
        smaller = cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
        image, landmarks = np.asarray(smaller, np.uint8), landmarks * 0.4
        chip = dlib.get_face_chip(image, predictor(image, detector(image, 0)[0]), 150, 0.25)
        face = align_face(image, estimate_similarity(landmarks, FFHQ, 256), 256)
        with torch.inference_mode():
            own = network.describe(torch.from_numpy(chip).permute(2, 0, 1)[None].float() / 255)
            ours = network.describe(
                faces_to_identity_crops(torch.from_numpy(face.copy()).permute(2, 0, 1)[None].float() / 255, DLIB)
            )
        # dlib calls 0.6 the same person; alignment alone must cost well under half of that.
        assert float((own - ours).norm()) < 0.3
