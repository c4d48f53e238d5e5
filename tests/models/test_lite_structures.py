"""What the network that reads structures says, and how it is joined with the head's answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medclipsam.learning.tensors import halved, save_tensors
from napari_medclipsam.models.lite.region import STRUCTURE_REGIONS
from napari_medclipsam.models.lite.structure_net import StructureNet
from napari_medclipsam.models.lite.structures import Drawn, StructureReader, _torch

N = len(STRUCTURE_REGIONS)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDCLIPSAM_CACHE", str(tmp_path / "kept"))
    torch.manual_seed(0)
    path = tmp_path / "structures.safetensors"
    save_tensors(path, halved(StructureNet().state_dict()), {"taught": json.dumps(["polyp"])})
    return path


def test_openvino_and_torch_agree(weights: Path) -> None:
    canvas = np.random.default_rng(0).random((3, 256, 256), np.float32)
    read = StructureReader(weights, "cpu")
    drawn, again = (read.unpacked(read(canvas)) for _ in range(2))
    assert read.taught == {"polyp"}
    logits, presences = _torch(weights, "cpu")(canvas[None])
    assert drawn.logits_nyx.shape == (N, 128, 128) and drawn.presences.shape == (N,)
    np.testing.assert_allclose(drawn.logits_nyx, logits[0], atol=1e-3)
    np.testing.assert_allclose(drawn.presences, presences[0], atol=1e-3)
    assert torch.equal(drawn.logits_nyx, again.logits_nyx)


def test_only_what_was_taught_is_joined() -> None:
    drawn = Drawn(torch.full((N, 4, 4), 3.0), torch.full((N,), -2.0), frozenset({"polyp"}))
    head = torch.ones(4, 4)
    joined_map = drawn.joined_map("polyp", head)
    assert (joined_map > 2.0).all() and (joined_map < 3.0).all(), "between both, nearer to the network"
    assert drawn.joined_map("lungs", head) is head and drawn.joined_map("", head) is head
    joined = drawn.joined_presences(["lungs", "polyp", ""], torch.tensor([4.0, 4.0, 4.0]))
    assert joined[[0, 2]].tolist() == [4.0, 4.0] and -2.0 < joined[1] < 1.0


def test_only_what_no_head_could_lift_is_ruled_out() -> None:
    drawn = Drawn(torch.zeros(N, 4, 4), torch.full((N,), -9.0), frozenset({"polyp"}))
    highest = torch.tensor([12.0])
    joined = float(drawn.joined_presences(["polyp"], highest)[0])
    assert drawn.rules_out("polyp", joined + 0.1) and not drawn.rules_out("polyp", joined - 0.1)
    assert not drawn.rules_out("lungs", 99.0) and not drawn.rules_out("", 99.0)
