"""The reordered click decoder, through OpenVINO, beside the network that was trained."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.encoder import load_litemedsam
from napari_medclipsam.models.lite.few_tokens import ClickRunner, FewTokens, _TorchClicks, build_clicks
from napari_medclipsam.models.lite.parts import load_decoder
from napari_medclipsam.models.lite.preprocess import CANVAS
from napari_medclipsam.models.registry import find_entry
from napari_medclipsam.models.store import verified_paths

PROMPTS = {
    "one click": ([(100.0, 90.0)], [1]),
    "clicks inside and outside": ([(100.0, 90.0), (3.5, 250.0), (200.2, 17.0)], [1, 0, 0]),
    "box": ([(20.0, 30.0), (180.0, 99.5)], [2, 3]),
    "box and click": ([(50.0, 60.0), (20.0, 30.0), (180.0, 99.5)], [0, 2, 3]),
    "padding": ([(50.0, 60.0), (0.0, 0.0), (0.0, 0.0)], [1, -1, -1]),
    "nothing but padding": ([(0.0, 0.0)], [-1]),
    "many": ([(8.0 * k, 250 - 7.0 * k) for k in range(30)], [k % 2 for k in range(30)]),
}


@pytest.fixture(scope="module")
def decoder() -> ClickDecoder:
    paths = {path.name: path for path in verified_paths(find_entry("lite")).values()}
    return load_decoder(load_litemedsam(paths["lite_medsam.pth"]), paths["clicks.safetensors"])


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    embedding = rng.normal(0, 0.3, (256, 64, 64))
    return np.concatenate([embedding, rng.random((48, 64, 64))]).astype(np.float32)


@pytest.fixture(scope="module")
def runner(decoder: ClickDecoder) -> ClickRunner:
    pytest.importorskip("openvino")
    return build_clicks(lambda: decoder, "cpu")


@pytest.mark.parametrize("corrects", [False, True], ids=["start", "correct"])
@pytest.mark.parametrize("kind", PROMPTS)
def test_equals_the_trained_network(
    decoder: ClickDecoder, runner: ClickRunner, features: np.ndarray, kind: str, corrects: bool
) -> None:
    points, labels = torch.tensor(PROMPTS[kind][0]), torch.tensor(PROMPTS[kind][1])
    mask = 8 * torch.randn(CANVAS, CANVAS, generator=torch.Generator().manual_seed(0)) if corrects else None
    plain = _TorchClicks(decoder, "cpu")
    expected, expected_iou = plain(plain.prepare(features), points, labels, mask)
    found, iou = runner(runner.prepare(features), points, labels, mask)
    assert np.abs(expected).max() > 5
    assert np.abs(found - expected).max() < 1e-3
    assert iou == pytest.approx(expected_iou, abs=1e-4)


def test_the_picture_itself_is_seen(runner: ClickRunner, features: np.ndarray) -> None:
    points, labels = torch.tensor(PROMPTS["one click"][0]), torch.tensor([1])
    prepared = runner.prepare(features)
    rows, canvas = prepared
    mask = torch.full((CANVAS, CANVAS), -4.0)
    first, _ = runner(prepared, points, labels, mask)
    other, _ = runner((rows, 1 - canvas), points, labels, mask)
    assert np.abs(first - other).max() > 0.1


def test_order_alone_changes_nothing(decoder: ClickDecoder, features: np.ndarray) -> None:
    points, labels = torch.tensor([PROMPTS["box"][0]]), torch.tensor([PROMPTS["box"][1]])
    embedding = torch.from_numpy(features[None, :256])
    with torch.inference_mode():
        expected, _ = decoder.decode(embedding, points, labels, torch.full((1, 1, CANVAS, CANVAS), float("nan")))
        found, _ = FewTokens(decoder).decode(embedding.flatten(2).transpose(1, 2), points, labels)
    assert (found - expected).abs().max() < 1e-3


def test_several_threads_may_ask_and_answers_stay(runner: ClickRunner, features: np.ndarray) -> None:
    prepared = runner.prepare(features)
    places = [torch.tensor([[20.0 * k, 100.0]]) for k in range(1, 5)]
    alone = [runner(prepared, place, torch.tensor([1]), None)[0] for place in places]
    together: dict[int, np.ndarray] = {}

    def ask(k: int) -> None:
        together[k] = runner(prepared, places[k], torch.tensor([1]), None)[0]

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.abs(together[k] - alone[k]).max() < 1e-4 for k in range(4))
    assert np.abs(alone[0] - alone[1]).max() > 1e-2
