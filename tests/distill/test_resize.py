"""A student of another size keeps what was learnt and leaves room to learn."""

import pytest
import torch

from pocketface.distill.resize import resize
from pocketface.runtime.errors import RecipeError
from pocketface.runtime.models.student import StudentConfig, StudentRestorer

SMALL = StudentConfig((8, 16), (1,), 1, (1,))
LARGE = StudentConfig((12, 24), (1,), 2, (2,))


@pytest.fixture
def trained() -> StudentRestorer:
    """A student whose normalisations have seen something, as a trained one's have."""
    torch.manual_seed(1)
    student = StudentRestorer(SMALL)
    for _ in range(3):
        student(torch.rand(4, 3, 32, 32))
    return student.eval()


def test_a_grown_student_computes_what_the_small_one_did(trained: StudentRestorer) -> None:
    faces = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        difference = (resize(trained, LARGE)(faces) - trained(faces)).abs().max()
    assert float(difference) < 1e-5  # sums over more channels, all of them zeros, are rounded otherwise


def test_every_new_weight_that_matters_gets_a_gradient(trained: StudentRestorer) -> None:
    large = resize(trained, LARGE).train()
    large(torch.rand(4, 3, 32, 32)).square().mean().backward()
    still = {name for name, weight in large.named_parameters() if weight.grad is None or not weight.grad.any()}
    # A new block's inside hears nothing until its gain, which does, has left zero.
    assert {name for name in still if not name.startswith(("middle.1.", "decoder.0.1."))} == set()
    assert not {"middle.1.bn3.weight", "decoder.0.1.bn3.weight"} & still


def test_leaving_out_a_block_leaves_the_rest_as_it_was(trained: StudentRestorer) -> None:
    deep = resize(trained, StudentConfig((8, 16), (1,), 1, (2,)))
    with torch.no_grad():
        deep.get_parameter("decoder.0.1.bn3.weight").fill_(0.5)  # what a trained block would add
    faces = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert float((deep(faces) - trained(faces)).abs().max()) > 1e-3
        assert torch.equal(resize(deep, SMALL)(faces), trained(faces))


@pytest.mark.parametrize(
    "config",
    [
        StudentConfig((8, 12), (1,), 1, (1,)),
        StudentConfig((8, 16), (1,), 1, (1,), expansion=3),
        StudentConfig((8, 16), (1,), 1, (1,), activation="relu"),
        StudentConfig((8, 16, 24), (1, 1), 1, (1, 1)),
    ],
)
def test_other_shapes_are_refused_by_name(trained: StudentRestorer, config: StudentConfig) -> None:
    with pytest.raises(RecipeError, match="nowhere narrower"):
        resize(trained, config)
