"""What the network that reads structures says, and how it is joined with the head's answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medclipsam.learning.tensors import halved, save_tensors
from napari_medclipsam.models.lite.recognised import recognised_box
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
    assert torch.equal(drawn.joined_map("polyp", head), torch.full((4, 4), 2.0))
    assert drawn.joined_map("lungs", head) is head and drawn.joined_map("", head) is head
    joined = drawn.joined_presences(["lungs", "polyp", ""], torch.tensor([4.0, 4.0, 4.0]))
    assert joined.tolist() == [4.0, 1.0, 4.0]


def at(*places_xy: tuple[float, float]) -> np.ndarray:
    return np.array(places_xy, np.float32)


def test_a_click_on_a_finding_is_a_click_on_all_of_it() -> None:
    order = list(STRUCTURE_REGIONS)
    maps = torch.full((N, 128, 128), -4.0)
    maps[order.index("polyp"), 20:40, 10:50] = 2.0
    maps[order.index("polyp"), 80:90, 80:90] = 2.0
    maps[order.index("lungs"), 60:70, 60:70] = 9.0
    drawn = Drawn(maps, torch.zeros(N), frozenset({"polyp", "lungs"}))
    on, other, organ, beside = (40.0, 60.0), (170.0, 170.0), (130.0, 130.0), (5.0, 5.0)
    box = recognised_box(drawn, at(on), np.array([1]))
    assert box is not None
    assert np.abs(box - [[20, 40], [100, 80]]).max() < 4
    assert recognised_box(drawn, at(on, beside), np.array([1, 0])) is not None
    for clicks, labels in (
        ([organ], [1]),  # the reader may mean a part of it
        ([beside], [1]),
        ([on, other], [1, 1]),
        ([on, on], [1, 0]),
        ([on], [0]),
        ([], []),
    ):
        assert recognised_box(drawn, np.array(clicks, np.float32).reshape(-1, 2), np.array(labels, int)) is None
