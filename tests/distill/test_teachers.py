from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from pocketface.distill.teachers import Teacher, open_teacher, resize
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.errors import BackendError, CheckpointError, InputError, RecipeError
from pocketface.runtime.models.checkpoint import save_checkpoint
from pocketface.runtime.models.identity import MobileFaceNet
from pocketface.runtime.models.student import StudentConfig, StudentRestorer
from pocketface.runtime.models.teacher import TeacherConfig, TeacherRestorer

# One network, run twice in other memory layouts.
FLOAT32_NOISE = 2e-6


def _faces(count: int = 2, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def _own(path: Path, model: nn.Module) -> Path:
    save_checkpoint(path, model, training={})
    return path


@pytest.fixture
def student(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return _own(tmp_path / "tiny.safetensors", StudentRestorer(StudentConfig((8, 16), (1,), 1, (1,))))


@pytest.fixture
def guided(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = TeacherRestorer(TeacherConfig((8, 16), (1,), 1, (1,)))
    for parameter in model.parameters():
        if not parameter.any():  # a new teacher does not listen to its guide yet
            nn.init.normal_(parameter, std=0.5)
    return _own(tmp_path / "guided.safetensors", model)


def _darken(path: Path, size: int, shape: tuple[int | str, ...] | None = None) -> Path:
    """Write an ONNX file that halves its input."""
    sides = shape or (1, 3, size, size)
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in ("image", "restored")]
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["image", "half"], ["restored"])], "half", tensors[:1], tensors[1:], [half]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_our_own_checkpoint_teaches_what_it_restores(student: Path) -> None:
    teacher, faces = open_teacher(str(student)), _faces()
    expected = open_restorer(student, device="cpu")
    np.testing.assert_allclose(teacher(faces).numpy(), expected(faces.numpy()), atol=FLOAT32_NOISE, rtol=0)
    assert (teacher.name, teacher.sha256) == ("tiny", expected.info.sha256)


def test_a_shipped_name_is_a_source() -> None:
    teacher = open_teacher("student-base")
    assert teacher(_faces(1)).shape == (1, 3, 64, 64)


def test_a_teacher_never_moves_whatever_happens_around_it(student: Path) -> None:
    teacher, faces = open_teacher(str(student)), _faces()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    assert any("running_mean" in name for name in before)
    around = nn.ModuleList([teacher]).train()
    teacher.train()
    assert around.training
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    given = faces.clone().requires_grad_()
    assert not teacher(given).requires_grad
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_test_above_would_see_statistics_that_move(student: Path) -> None:
    teacher = open_teacher(str(student))
    assert teacher.network is not None
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    teacher.network.train()  # past the teacher's own door
    teacher(_faces())
    assert any(not torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_a_guided_teacher_looks_at_the_whole_face(guided: Path) -> None:
    teacher, faces = open_teacher(str(guided)), _faces()
    crops = faces[..., :32, :32]
    assert not torch.equal(teacher(crops, faces), teacher(crops))
    assert torch.equal(teacher(faces, faces), teacher(faces))


def test_what_a_teacher_says_does_not_depend_on_autocast(student: Path) -> None:
    teacher, faces = open_teacher(str(student)), _faces()
    with torch.autocast("cpu", torch.bfloat16):
        said = teacher(faces)
    assert said.dtype == torch.float32
    assert torch.equal(said, teacher(faces))


def test_values_a_rounding_error_above_one_are_no_error(tmp_path: Path) -> None:
    teacher = open_teacher(str(_darken(tmp_path / "half.onnx", 32)), side=32)
    faces = torch.ones(1, 3, 32, 32) * 1.0000001
    assert float(teacher(faces).max()) == 0.5


def test_another_engine_teaches_at_its_own_size(tmp_path: Path) -> None:
    teacher = open_teacher(str(_darken(tmp_path / "half.onnx", 128)), side=64)
    faces = resize(0.25 + 0.5 * _faces(2, 8), 64)  # smooth, and away from the ends, where bicubic is clipped
    # Bicubic to twice the side and antialiased back keeps a smooth picture to about a level of 255.
    np.testing.assert_allclose(teacher(faces).numpy(), faces.numpy() / 2, atol=1 / 255, rtol=0)


def test_a_teacher_of_a_fixed_size_takes_no_crops(tmp_path: Path) -> None:
    teacher = open_teacher(str(_darken(tmp_path / "half.onnx", 128)), side=64)
    teacher.check_crop(64)
    for refuse in (lambda: teacher.check_crop(32), lambda: teacher(_faces(1, 32))):
        with pytest.raises(RecipeError, match="whole faces of 64"):
            refuse()


def test_the_native_side_is_what_faces_have_unless_said_otherwise(tmp_path: Path) -> None:
    teacher = open_teacher(str(_darken(tmp_path / "half.onnx", 512)))
    teacher.check_crop(256)
    with pytest.raises(RecipeError, match="whole faces of 256"):
        teacher.check_crop(128)


def test_a_teacher_of_open_size_takes_crops_of_its_multiple(student: Path) -> None:
    teacher = open_teacher(str(student))
    teacher.check_crop(24)
    with pytest.raises(RecipeError, match="divisible by 8"):
        teacher.check_crop(20)


def test_a_side_file_makes_another_teacher(tmp_path: Path) -> None:
    path = _darken(tmp_path / "half.onnx", 32)
    plain = open_teacher(str(path), side=32)
    path.with_name("half.onnx.json").write_text('{"range": [-1, 1]}', encoding="utf-8")
    centred = open_teacher(str(path), side=32)
    assert plain.sha256 != centred.sha256
    assert float(plain(torch.zeros(1, 3, 32, 32)).max()) == 0.0
    assert float(centred(torch.zeros(1, 3, 32, 32)).max()) == 0.25


def test_the_shipped_tflite_file_teaches() -> None:
    teacher = open_teacher("student-base-tflite")
    faces = resize(_faces(1, 32), 256)
    assert teacher(faces).shape == faces.shape
    with pytest.raises(RecipeError):
        teacher(faces[..., :128, :128])


@pytest.mark.parametrize(
    ("name", "error"),
    [("absent.pth", InputError), ("absent.safetensors", InputError), ("notes.txt", InputError), ("absent", InputError)],
)
def test_what_is_no_teacher_is_an_error(tmp_path: Path, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_teacher(str(tmp_path / name))


def test_an_identity_network_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="mobilefacenet"):
        open_teacher(str(_own(tmp_path / "identity.safetensors", MobileFaceNet())))


def test_an_engine_without_the_device_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="cuda"):
        open_teacher(str(_darken(tmp_path / "half.onnx", 32)), "cuda:99")


def test_resizing_moves_no_pixel() -> None:
    ramp = torch.linspace(0.2, 0.8, 64).expand(1, 3, 64, 64)
    there = resize(resize(ramp, 128), 64)
    # Away from the edges, where bicubic has no neighbours, a ramp stays what it is.
    np.testing.assert_allclose(there[..., 8:-8].numpy(), ramp[..., 8:-8].numpy(), atol=1e-5, rtol=0)
    assert resize(ramp, 64) is ramp


def test_a_teacher_keeps_within_the_range() -> None:
    teacher = Teacher(lambda given, _: given * 3 - 1, "wild", "", side=32)
    said = teacher(_faces(1, 32))
    assert (float(said.min()), float(said.max())) == (0.0, 1.0)
