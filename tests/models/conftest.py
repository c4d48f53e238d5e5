"""Tiny models in the real file formats, and a machine without a network or other people's folders."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clip_samples import save_open_clip
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models import registry
from napari_medclipsam.models.entry import ModelEntry, ModelFile

TINY_SAM = {
    "encoder_embed_dim": 16,
    "encoder_depth": 2,
    "encoder_num_heads": 2,
    "encoder_global_attn_indexes": [1],
    "image_size": 64,
    "patch_size": 16,
    "window_size": 2,
    "prompt_embed_dim": 16,
    "mask_in_chans": 16,
    "decoder_depth": 1,
    "decoder_mlp_dim": 16,
    "decoder_num_heads": 2,
    "iou_head_hidden_dim": 16,
}
TINY_TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Models and caches go to a folder of this test."""
    monkeypatch.setenv("MEDCLIPSAM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("MEDCLIPSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("MEDCLIPSAM_DEVICE", raising=False)


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to connect fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"tried to use the network: {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def add_entries(monkeypatch):
    """Put entries into the catalogue for one test."""
    added: list[ModelEntry] = []
    monkeypatch.setattr(registry, "_plugin_entries", lambda: list(added))
    return added.append


@pytest.fixture
def image() -> Slice:
    return Slice(np.random.default_rng(0).integers(0, 255, (40, 60), dtype=np.uint8))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def make_entry(name: str = "toy", contents: dict[str, bytes] | None = None, **changes) -> ModelEntry:
    """An entry whose files hash to `contents`."""
    files = tuple(ModelFile(n, sha256=sha256(c), size_bytes=len(c)) for n, c in (contents or {}).items())
    entry = ModelEntry(
        name=name,
        kind="toy",
        title="A toy",
        source="https://example.org",
        revision="1",
        licence="MIT",
        loader="napari_medclipsam.models.sam:load",
        files=files,
        roles=("segment",),
        input_size_px=64,
    )
    return replace(entry, **changes)


def install(entry: ModelEntry, contents: dict[str, bytes], folder: Path) -> None:
    for name, content in contents.items():
        path = folder / entry.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def installed(tmp_path, add_entries):
    """Return a function that puts a model into the catalogue and its files into the store."""

    def do(name: str, contents: dict[str, bytes], **changes) -> ModelEntry:
        entry = make_entry(name, contents, **changes)
        install(entry, contents, tmp_path / "models")
        add_entries(entry)
        return entry

    return do


@pytest.fixture
def helpers():
    """The functions of this file, for the test modules."""

    class Helpers:
        make_entry = staticmethod(make_entry)
        install = staticmethod(install)
        sha256 = staticmethod(sha256)
        tiny_sam = TINY_SAM

    return Helpers


@pytest.fixture(params=["timm", "plain"])
def clip_folder(request, tmp_path) -> Path:
    return save_open_clip(tmp_path / f"clip-{request.param}", request.param, TINY_TEXT)
