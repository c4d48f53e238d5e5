"""Choosing a processor."""

from __future__ import annotations

import pytest
import torch

from napari_medclipsam.errors import ModelError
from napari_medclipsam.models import device


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have these devices."""

    def pretend(cuda: int = 0, mps: bool = False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(("cuda", "mps", "best"), [(2, True, "cuda:0"), (0, True, "mps"), (0, False, "cpu")])
def test_the_best_there_is(machine, cuda, mps, best):
    machine(cuda, mps)
    assert str(device.choose_device()) == str(device.choose_device("auto")) == best


@pytest.mark.parametrize("wanted", ["cuda", "cuda:1", "CPU", "mps"])
def test_what_is_asked_for(machine, wanted):
    machine(2, True)
    assert str(device.choose_device(wanted)) == wanted.lower()


def test_the_environment_comes_before_the_best_but_after_the_argument(machine, monkeypatch):
    machine(1)
    monkeypatch.setenv("MEDCLIPSAM_DEVICE", "cpu")
    assert str(device.choose_device()) == "cpu"
    assert str(device.choose_device("cuda")) == "cuda"


@pytest.mark.parametrize("wanted", ["cuda", "cuda:3", "mps", "tpu", ""])
def test_a_device_that_is_not_there(machine, wanted):
    machine(0)
    if not wanted:
        assert str(device.choose_device(wanted)) == "cpu"
        return
    with pytest.raises(ModelError, match=f"'{wanted}' is not on this machine, which has cpu"):
        device.choose_device(wanted)


def test_number_formats(monkeypatch):
    assert device.dtype_for(torch.device("cpu")) is torch.float32
    assert device.dtype_for(torch.device("mps")) is torch.float32
    for supported, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, s=supported: s)
        assert device.dtype_for(torch.device("cuda")) is expected
