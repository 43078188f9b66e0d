"""Layer by layer: what rounding costs, simulated as the files do it, and which layers to keep float."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import pytest
from torch import fx, nn

from pocketface.export import audit as audit_module
from pocketface.export.audit import propose, read_proposal
from pocketface.export.calibration import HALF_LIMIT, ActivationRanges, observe_ranges
from pocketface.export.deploy_graph import build_deploy_graph, tail_of
from pocketface.export.golden import aligned_astronaut
from pocketface.export.sensitivity import Simulation
from pocketface.export.to_tflite import write_tflite
from pocketface.runtime.backends import open_restorer
from pocketface.runtime.cli import run_command
from pocketface.runtime.errors import ExportError, InputError
from pocketface.runtime.metrics import snr_of_residual
from pocketface.runtime.models.student import StudentRestorer
from pocketface.runtime.restorer import Faces

Golden = tuple[Faces, tuple[str, ...]]


@pytest.fixture(scope="module")
def simulation(lively_graph: fx.GraphModule, lively_ranges: ActivationRanges, golden: Golden) -> Simulation:
    return Simulation(lively_graph, golden[0], lively_ranges)


def test_the_simulation_predicts_what_the_file_loses(
    tmp_path: Path, simulation: Simulation, lively_graph: fx.GraphModule, lively_ranges: ActivationRanges
) -> None:
    for keep in ((), tail_of(lively_graph)):
        path = tmp_path / "a.tflite"
        write_tflite(lively_graph, 32, "int8", path, lively_ranges, keep_float=keep)
        found = open_restorer(path, threads=1)(simulation.faces)
        measured = snr_of_residual(simulation.reference, found, simulation.faces).mean()
        # Engines round sums inside a layer once more, and ties another way.
        assert simulation.run_int8(keep).mean_snr_db == pytest.approx(measured, abs=1.5)


def test_nothing_rounded_is_the_network_itself(simulation: Simulation) -> None:
    assert simulation.run([], []).min_psnr_db == 200.0


def test_every_layer_is_measured_once(simulation: Simulation) -> None:
    layers = list(simulation.audit())
    assert [layer.node for layer in layers] == simulation.names[:-3]  # all but the tail
    whole = simulation.run_int8(())
    for layer in layers:
        assert layer.low <= layer.high
        assert layer.half_headroom == pytest.approx(HALF_LIMIT / max(abs(layer.low), abs(layer.high)))
        assert layer.both.mean_snr_db > whole.mean_snr_db  # one layer's rounding costs less than that of all
        assert (layer.weights is None) == (layer.kind != "Conv2d")
        assert (layer.activations is None) == (layer.kind in ("Upsample", "PixelShuffle"))
        assert (layer.sum_headroom is None) == (layer.kind != "Conv2d")


def test_a_layer_that_half_precision_cannot_hold_is_seen(lively: StudentRestorer, golden: Golden) -> None:
    graph = build_deploy_graph(lively)
    layer = graph.get_submodule("down.0")
    assert isinstance(layer, nn.Conv2d)
    layer.weight.data.mul_(1e6)
    found = {one.node: one for one in Simulation(graph, golden[0], observe_ranges(graph, golden[0], "g")).audit()}
    assert found["down_0"].half_headroom < 1
    assert (found["down_0"].sum_headroom or 1) < 1
    assert found["stem"].half_headroom > 100


def test_the_proposal_reaches_what_was_asked_for_with_the_worst_layers(simulation: Simulation) -> None:
    layers = list(simulation.audit())
    none = propose(simulation, layers, 0.0)
    assert none.keep_float == tail_of(simulation.graph)
    some = propose(simulation, layers, none.fidelity.min_snr_db + 3)
    assert some.fidelity.min_snr_db >= none.fidelity.min_snr_db + 3
    worst = min(layers, key=lambda layer: layer.both.mean_snr_db)
    assert some.keep_float[3] == worst.node
    assert len(some.keep_float) < len(simulation.names)


def test_ranges_of_another_network_are_refused(lively: StudentRestorer, golden: Golden, simulation: Simulation) -> None:
    other = build_deploy_graph(StudentRestorer(lively.config))
    with pytest.raises(ExportError, match="ranges"):
        Simulation(other, golden[0], ActivationRanges({}, "0" * 64, ""))
    assert simulation.names


def test_the_command_writes_table_values_and_picture(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for name in "ab":
        cv2.imwrite(str(crops / f"{name}.png"), cv2.cvtColor(aligned_astronaut(32), cv2.COLOR_RGB2BGR))
    output = tmp_path / "audit"
    given = [str(tiny_checkpoint), "--faces", str(crops), "--count", "2", "--snr", "30", "-o", str(output)]
    assert run_command(audit_module, "audit", given) == 0
    assert "| last addition and clamp float |" in capsys.readouterr().out
    content = json.loads((output / "audit.json").read_text())
    page = (output / "audit.md").read_text()
    assert all(f"| {layer['node']} |" in page for layer in content["layers"])
    assert read_proposal(output / "audit.json") == tuple(content["proposal"]["keep_float"])
    drawing = ET.fromstring((output / "audit.svg").read_text())  # noqa: S314 - our own file
    assert len(drawing) > 2 * len(content["layers"])


def test_a_file_that_is_no_audit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"format": "something else"}')
    for name in ("a.json", "no.json"):
        with pytest.raises(InputError, match="audit"):
            read_proposal(tmp_path / name)


def test_an_empty_folder_of_faces_is_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    given = [str(tiny_checkpoint), "--faces", str(tmp_path), "-o", str(tmp_path / "audit")]
    assert run_command(audit_module, "audit", given) == 2
    assert not (tmp_path / "audit").exists()
    assert list(tmp_path.iterdir()) == []
