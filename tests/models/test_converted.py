from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

openvino = pytest.importorskip("openvino")

from napari_medclipsam.models.lite.converted import kept_model  # noqa: E402


class Maker:
    """Converts a small network, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0
        self.network = torch.nn.Linear(4, 2)

    def __call__(self) -> openvino.Model:
        self.calls += 1
        return openvino.convert_model(self.network, example_input=torch.zeros(1, 4))

    def answers_of(self, model: openvino.Model) -> bool:
        given = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        found = openvino.Core().compile_model(model, "CPU", settings)(given)[0]
        return np.allclose(found, self.network(torch.from_numpy(given)).detach().numpy(), atol=1e-6)


@pytest.fixture
def make() -> Maker:
    return Maker()


def test_a_model_is_converted_once(tmp_path: Path, make: Maker) -> None:
    assert make.answers_of(kept_model(tmp_path, "a", make))
    assert make.answers_of(kept_model(tmp_path, "a", make)) and make.calls == 1
    kept_model(tmp_path, "b", make)
    assert make.calls == 2 and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda b: b[:-3], lambda b: b"", lambda b: b[:200] + b"x" + b[201:]])
def test_a_damaged_file_is_made_anew(tmp_path: Path, make: Maker, damage: object) -> None:
    kept_model(tmp_path, "a", make)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert make.answers_of(kept_model(tmp_path, "a", make)) and make.calls == 2
    assert make.answers_of(kept_model(tmp_path, "a", make)) and make.calls == 2


def test_without_a_folder_it_is_converted_each_time(tmp_path: Path, make: Maker) -> None:
    (tmp_path / "file").write_text("in the way")
    for calls in (1, 2):
        assert make.answers_of(kept_model(tmp_path / "file" / "cache", "a", make)) and make.calls == calls
