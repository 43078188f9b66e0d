"""The one door to identity networks, and the judges behind it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pocketface.export.golden import aligned_astronaut
from pocketface.runtime.errors import BackendError, CheckpointError
from pocketface.runtime.faces.align import ARCFACE, FFHQ, SPHEREFACE, align_face, estimate_similarity
from pocketface.runtime.faces.degrade import degrade_face
from pocketface.runtime.models.checkpoint import save_checkpoint
from pocketface.runtime.models.dlib_resnet import DLIB, load_dlib_resnet
from pocketface.runtime.models.identity import MobileFaceNet, MobileFaceNetConfig, faces_to_identity_crops
from pocketface.runtime.models.iresnet import IResNet, IResNetConfig
from pocketface.runtime.models.judges import IdentityJudge, load_xiaoccer, open_judge
from pocketface.runtime.models.student import StudentRestorer


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def _seeded(rows: int = 112, columns: int = 112) -> MobileFaceNet:
    torch.manual_seed(0)
    return MobileFaceNet(MobileFaceNetConfig(rows, columns)).eval()


def test_a_mirrored_judge_treats_both_sides_alike() -> None:
    judge = IdentityJudge(_seeded(112, 96), SPHEREFACE, mirrored=True)
    crops = torch.rand(2, 3, 112, 96)
    with torch.inference_mode():
        one, other = judge.embed_crops(crops), judge.embed_crops(crops.flip(3))
    torch.testing.assert_close(one[:, :128], other[:, 128:])
    torch.testing.assert_close(one.norm(dim=1), torch.ones(2))


def test_a_judge_takes_any_number_of_faces() -> None:
    judge = IdentityJudge(_seeded(), ARCFACE, mirrored=False)
    faces = np.random.default_rng(0).random((33, 3, 64, 64), np.float32)
    together = judge(faces)
    assert together.shape == (33, 128)
    # One batch more or less changes nothing but the order of float32 sums.
    np.testing.assert_allclose(together[32:], judge(faces[32:]), atol=1e-5)
    assert judge(faces[:0]).shape == (0, 128)


def test_our_checkpoint_opens_as_a_judge(tmp_path: Path) -> None:
    network, face = _seeded(), _tensor(aligned_astronaut(128))
    save_checkpoint(tmp_path / "net.safetensors", network, training={})
    with torch.inference_mode():
        expected = network(faces_to_identity_crops(face)).numpy()
    np.testing.assert_allclose(open_judge(tmp_path / "net.safetensors")(face.numpy()), expected, atol=1e-6)


def test_the_shipped_network_knows_a_degraded_face_again() -> None:
    face = aligned_astronaut(256)
    cat = np.ascontiguousarray(skimage.data.chelsea()[20:276, 90:346])
    pictures = [face, degrade_face(face, "mild", 0), degrade_face(face, "medium", 0), cat]
    embeddings = open_judge()(torch.cat([_tensor(picture) for picture in pictures]).numpy())
    same, degraded, other = embeddings[1:] @ embeddings[0]
    # Measured 0.997 and 0.986; 99.9 % of strangers lie below 0.87 (docs/experiments.md).
    assert same > 0.95
    assert degraded > 0.9
    assert other < 0.6


def test_a_restorer_is_no_judge(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "student.safetensors", StudentRestorer(), training={})
    with pytest.raises(CheckpointError, match="mobilefacenet"):
        open_judge(tmp_path / "student.safetensors")


def test_a_public_checkpoint_opens_by_its_suffix(tmp_path: Path) -> None:
    network = _seeded(112, 96)
    torch.save({"epoch": 1, "net_state_dict": network.state_dict()}, tmp_path / "net.ckpt")
    embedding = open_judge(tmp_path / "net.ckpt")(_tensor(aligned_astronaut(128)).numpy())
    assert embedding.shape == (1, 256)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"weights": {}}, "net_state_dict"),
        ({"net_state_dict": _seeded(112, 112).state_dict()}, "linear7"),
        ({"net_state_dict": {"conv1.conv.weight": torch.zeros(1)}}, "dw_conv1"),
    ],
    ids=["no weights", "another shape", "missing keys"],
)
def test_other_checkpoints_are_refused(tmp_path: Path, content: object, complaint: str) -> None:
    torch.save(content, tmp_path / "net.ckpt")
    with pytest.raises(CheckpointError, match=complaint):
        load_xiaoccer(tmp_path / "net.ckpt")


@pytest.mark.parametrize("content", [None, b"", b"no zip, no pickle"], ids=["missing", "empty", "text"])
def test_files_that_are_no_checkpoint_are_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"net\.ckpt"):
        load_xiaoccer(path)


def test_dlib_opens_by_its_name() -> None:
    face = _tensor(aligned_astronaut(128))
    with torch.inference_mode():
        expected = load_dlib_resnet()(faces_to_identity_crops(face, DLIB)).numpy()
    np.testing.assert_allclose(open_judge("dlib")(face.numpy()), expected, atol=1e-6)


def test_a_public_iresnet_opens_by_its_suffix(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = IResNet(IResNetConfig((1, 1, 1, 1), 16)).eval()
    torch.save(network.state_dict(), tmp_path / "backbone.pth")
    face = _tensor(aligned_astronaut(128))
    with torch.inference_mode():
        expected = network(faces_to_identity_crops(face)).numpy()
    np.testing.assert_allclose(open_judge(tmp_path / "backbone.pth")(face.numpy()), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["", "judge.bin", "identities", "student-base-tflite"])
def test_what_is_no_identity_network_is_named(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"'identity', 'dlib', or a file in \.safetensors") as caught:
        open_judge(name)
    assert name in caught.value.got


@pytest.mark.parametrize("name", ["absent.safetensors", "absent.pth", "absent.ckpt", "absent.onnx"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="absent"):
        open_judge(tmp_path / name)


@pytest.mark.parametrize("name", ["identity", "dlib"])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(BackendError, match="cuda:99"):
        open_judge(name, "cuda:99")


class _Mean(nn.Module):
    """Gives a crop itself, averaged over blocks of 16 pixels, so that a shift of a few shows."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.normalize(nn.functional.avg_pool2d(x, 16).flatten(1))


def test_faces_of_the_networks_own_alignment_are_taken_as_they_are() -> None:
    crops = np.random.default_rng(0).random((2, 3, 112, 112), np.float32)
    network = _Mean()
    own = IdentityJudge(network, ARCFACE)(crops, ARCFACE)
    # float32 coordinates: a ten-thousandth of a pixel's difference to its neighbour.
    np.testing.assert_allclose(own, network(torch.from_numpy(crops)).numpy(), atol=1e-4)
    # SphereFace crops are the same picture without eight columns on each side.
    narrow = IdentityJudge(network, SPHEREFACE)(crops, ARCFACE)
    np.testing.assert_allclose(narrow, network(torch.from_numpy(crops[..., 8:104])).numpy(), atol=1e-4)
    assert math.isclose(float((own[0] * own[0]).sum()), 1, rel_tol=1e-5)
    assert np.abs(own - IdentityJudge(network, ARCFACE)(crops)).max() > 0.01  # FFHQ crops are something else


def _london(shared: Path) -> list[dict[str, str]]:
    with (shared / "faces" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["group"] == "london_ccby"]


def _photograph(shared: Path, row: dict[str, str]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    image = np.asarray(Image.open(shared / "faces" / row["file"]).convert("RGB"))
    return image, np.array([float(value) for value in row["landmarks5"].split()]).reshape(5, 2)


def test_the_public_network_finds_every_londoner(shared: Path) -> None:
    judge = open_judge(shared / "weights" / "mobilefacenet_xiaoccer_068.ckpt")
    rows, crops = _london(shared), []
    for row in rows:
        image, landmarks = _photograph(shared, row)
        crop = align_face(image, estimate_similarity(landmarks, SPHEREFACE, 96), 96, 112).astype(np.uint8)
        crops.append(_tensor(crop))
    with torch.inference_mode():
        embeddings = torch.cat([judge.embed_crops(batch) for batch in torch.cat(crops).split(40)]).numpy()
    cosines = embeddings @ embeddings.T
    np.fill_diagonal(cosines, -1)
    people = np.array([row["identity"] for row in rows])
    same = people[:, None] == people[None, :]
    assert len(rows) == 160
    assert (people[cosines.argmax(1)] == people).all()
    # Measured: the pairs of one person do not overlap with those of two (genuine >= 0.679, impostors <= 0.566).
    genuine = cosines[same & (cosines > -1)]
    assert genuine.min() > cosines[~same].max()


def test_judging_restoration_crops_agrees_with_judging_photographs(shared: Path) -> None:
    judge = load_xiaoccer(shared / "weights" / "mobilefacenet_xiaoccer_068.ckpt")
    for row in _london(shared)[:4]:
        image, landmarks = _photograph(shared, row)
        face = align_face(image, estimate_similarity(landmarks, FFHQ, 256), 256).astype(np.uint8)
        crop = align_face(image, estimate_similarity(landmarks, SPHEREFACE, 96), 96, 112).astype(np.uint8)
        with torch.inference_mode():
            direct = judge.embed_crops(_tensor(crop)).numpy()
        # The two templates are not similar to each other: eyes and mouth cannot both meet (1-2 px of 112).
        assert (direct * judge(_tensor(face).numpy())).sum() > 0.9
