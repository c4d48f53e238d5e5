"""Segment Anything and MedSAM as a `PromptableSegmenter` (Kirillov et al. 2023; Ma et al. 2024)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models import store
from napari_medclipsam.models.contracts import Embedding, MaskResult, PromptSet
from napari_medclipsam.models.device import choose_device, dtype_for
from napari_medclipsam.models.embedding_cache import EmbeddingCache, embedding_key
from napari_medclipsam.models.entry import ModelEntry
from napari_medclipsam.models.weights import fill, load_tensors

if TYPE_CHECKING:
    import torch

Preprocessing = Literal["sam", "medsam"]

_PREPROCESSING_VERSION = "1"
# SAM's own logits seldom go beyond +-20; a saliency map turned into logits can be anything.
_LOGIT_LIMIT = 20.0
_RGB_MEAN = [123.675, 116.28, 103.53]
_RGB_STD = [58.395, 57.12, 57.375]


def load(entry: ModelEntry, device: str | None = None, cache: EmbeddingCache | None = None) -> SegmentAnything:
    """Load a catalogue entry of kind "sam".

    The entry's options hold "architecture" (see `build_sam`) and "preprocessing": "sam" (longest side to the input
    size, mean and deviation of photographs, padding) or "medsam" (square, each image from 0 to 1).

    Raises
    ------
    ModelError
        If the weights are missing, damaged or of another architecture, or the device is not there.
    """
    chosen = choose_device(device)
    (path,) = store.verified_paths(entry).values()
    network = build_sam(entry.options["architecture"])
    fill(network, load_tensors(path), path)
    return SegmentAnything(
        network.to(chosen),
        name=entry.name,
        model_hash=store.model_hash(entry),
        preprocessing=entry.options["preprocessing"],
        cache=cache,
    )


def build_sam(architecture: Mapping[str, Any]) -> Any:
    """Return an untrained `segment_anything` network.

    Parameters
    ----------
    architecture : Mapping
        encoder_embed_dim, encoder_depth, encoder_num_heads, encoder_global_attn_indexes, image_size and patch_size (in
        pixels), window_size (in patches), prompt_embed_dim, mask_in_chans, decoder_depth, decoder_mlp_dim,
        decoder_num_heads, iou_head_hidden_dim.
    """
    try:
        from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
    except ImportError as error:
        raise ModelError(
            f"SAM models need the package segment-anything ({error}). Run: pip install segment-anything"
        ) from error
    from torch.nn import LayerNorm

    a = architecture
    grid = a["image_size"] // a["patch_size"]
    encoder = ImageEncoderViT(
        img_size=a["image_size"],
        patch_size=a["patch_size"],
        embed_dim=a["encoder_embed_dim"],
        depth=a["encoder_depth"],
        num_heads=a["encoder_num_heads"],
        global_attn_indexes=tuple(a["encoder_global_attn_indexes"]),
        window_size=a["window_size"],
        out_chans=a["prompt_embed_dim"],
        mlp_ratio=4,
        qkv_bias=True,
        use_rel_pos=True,
        norm_layer=partial(LayerNorm, eps=1e-6),
    )
    prompt_encoder = PromptEncoder(
        embed_dim=a["prompt_embed_dim"],
        image_embedding_size=(grid, grid),
        input_image_size=(a["image_size"], a["image_size"]),
        mask_in_chans=a["mask_in_chans"],
    )
    decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(
            depth=a["decoder_depth"],
            embedding_dim=a["prompt_embed_dim"],
            mlp_dim=a["decoder_mlp_dim"],
            num_heads=a["decoder_num_heads"],
        ),
        transformer_dim=a["prompt_embed_dim"],
        iou_head_depth=3,
        iou_head_hidden_dim=a["iou_head_hidden_dim"],
    )
    network = Sam(encoder, prompt_encoder, decoder, pixel_mean=_RGB_MEAN, pixel_std=_RGB_STD)
    return network.eval().requires_grad_(False)


class SegmentAnything:
    """Points, boxes and masks to a mask, by a `segment_anything` network.

    Parameters
    ----------
    network : segment_anything.modeling.Sam
        On its device, in evaluation mode.
    name : str
        The model's name.
    model_hash : str
        Hash of its weights, part of the names of cached embeddings.
    preprocessing : {"sam", "medsam"}
        How its images are prepared.
    cache : EmbeddingCache, optional
        Default: a cache in the user's cache folder.
    """

    def __init__(
        self,
        network: Any,
        *,
        name: str,
        model_hash: str,
        preprocessing: Preprocessing = "sam",
        cache: EmbeddingCache | None = None,
    ) -> None:
        if preprocessing not in ("sam", "medsam"):
            raise ModelError(f"The preprocessing of model {name!r} is 'sam' or 'medsam'; got {preprocessing!r}.")
        self.name = name
        self._network = network
        self._model_hash = model_hash
        self._preprocessing = preprocessing
        self._cache = cache if cache is not None else EmbeddingCache()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self._network.device
        return device

    def network_copy(self) -> Any:
        """Return a copy of the network, on the CPU and in float32, to train it on."""
        return copy.deepcopy(self._network).cpu().float()

    @property
    def _input_size(self) -> int:
        return int(self._network.image_encoder.img_size)

    def embed(self, image: Slice) -> Embedding:
        """Encode a slice once, or take it from the cache; features are float32 (channels, rows, columns)."""
        dtype = str(dtype_for(self.device))
        version = f"sam-{_PREPROCESSING_VERSION}-{self._preprocessing}-{self._input_size}-{dtype}"
        key = embedding_key(image, self._model_hash, version)
        return Embedding(self._cache.get_or_compute(key, lambda: self._encode(image)), image.shape_yx, key)

    def _encode(self, image: Slice) -> np.ndarray:
        import torch

        dtype = dtype_for(self.device)
        pixels = self.prepared(image).to(self.device)
        mixed = torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32)
        with torch.inference_mode(), mixed:
            features = self._network.image_encoder(pixels)[0].float().cpu().numpy()
        if not np.isfinite(features).all():
            raise ModelError(
                f"Model {self.name!r} gave numbers that are not finite on {self.device}. Try the device cpu."
            )
        return np.asarray(features, np.float32)

    def frame_yx(self, shape_yx: tuple[int, int]) -> tuple[int, int]:
        """Return the size of an image inside the square input."""
        size = self._input_size
        if self._preprocessing == "medsam":
            return size, size
        scale = size / max(shape_yx)
        return max(1, int(shape_yx[0] * scale + 0.5)), max(1, int(shape_yx[1] * scale + 0.5))

    def prepared(self, image: Slice) -> torch.Tensor:
        """Return the network's input, float32 (1, 3, size, size)."""
        import torch
        from PIL import Image

        rows, columns = self.frame_yx(image.shape_yx)
        medsam = self._preprocessing == "medsam"
        method = Image.Resampling.BICUBIC if medsam else Image.Resampling.BILINEAR
        picture = Image.fromarray(np.ascontiguousarray(image.pixels)).convert("RGB").resize((columns, rows), method)
        pixels = torch.from_numpy(np.asarray(picture, np.float32).transpose(2, 0, 1).copy())
        if medsam:
            low, high = pixels.min(), pixels.max()
            return ((pixels - low) / (high - low).clamp(min=1e-8))[None]
        prepared: torch.Tensor = self._network.preprocess(pixels.to(self.device))[None]
        return prepared

    def masks(self, embedding: Embedding, prompts: PromptSet) -> MaskResult:
        """Return the mask of the one object that `prompts` describe.

        A single point alone is ambiguous: then SAM proposes three masks and its own estimate of their quality picks
        one. A box, a mask or several points leave no doubt, and one mask is predicted.

        Raises
        ------
        PromptError
            If the prompts are empty, say only what is *not* the object, or lie outside the image.
        ModelError
            If the embedding is of another model.
        """
        import torch

        self._check(embedding, prompts)
        points = self._points(prompts, embedding.shape_yx)
        ambiguous = points is not None and len(prompts.points_xy) == 1
        ambiguous = ambiguous and prompts.box_xyxy is None and prompts.mask_logits_yx is None
        with torch.inference_mode():
            features = torch.from_numpy(embedding.features)[None].to(self.device)
            sparse, dense = self._network.prompt_encoder(
                points=points,
                boxes=self._box(prompts, embedding.shape_yx),
                masks=self._mask(prompts, embedding.shape_yx),
            )
            low_resolution, quality = self._network.mask_decoder(
                image_embeddings=features,
                image_pe=self._network.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=ambiguous,
            )
            best = int(quality[0].argmax())
            logits = self._network.postprocess_masks(
                low_resolution[:, best : best + 1], self.frame_yx(embedding.shape_yx), embedding.shape_yx
            )
        return MaskResult(logits[0, 0].float().cpu().numpy(), float(quality[0, best].clamp(0, 1)))

    def _check(self, embedding: Embedding, prompts: PromptSet) -> None:
        side = self._network.prompt_encoder.image_embedding_size
        expected = (self._network.prompt_encoder.embed_dim, *side)
        if np.shape(embedding.features) != expected:
            raise ModelError(
                f"Model {self.name!r} takes embeddings of shape {expected}; got {np.shape(embedding.features)}. "
                "Encode the slice with the same model."
            )
        if prompts.is_empty:
            raise PromptError("Nothing says what to segment. Give a point, a box or a mask.")
        if prompts.box_xyxy is None and prompts.mask_logits_yx is None and not prompts.point_labels.any():
            raise PromptError("The points only say what is outside. Add a point inside the object, or a box.")
        height, width = embedding.shape_yx
        mask = prompts.mask_logits_yx
        if mask is not None and (mask.shape != (height, width) or not np.isfinite(mask).all()):
            raise PromptError(
                f"A mask prompt has the image's shape {(height, width)} and finite numbers; got {mask.shape}."
            )
        xy = prompts.points_xy
        if len(xy) and ((xy < -0.5).any() or (xy[:, 0] > width - 0.5).any() or (xy[:, 1] > height - 0.5).any()):
            raise PromptError(f"A point lies outside the image, which is {width} x {height} pixels (x, y).")

    def _in_frame(self, xy: np.ndarray, shape_yx: tuple[int, int]) -> torch.Tensor:
        """Pixel coordinates in the square input, float32 (n, 2), of pixel coordinates of the image.

        Pixel centres map to pixel centres. (SAM's own predictor leaves the half pixels out, which moves a prompt on a
        small image by up to half an image pixel.)
        """
        import torch

        rows, columns = self.frame_yx(shape_yx)
        scale = np.array([columns / shape_yx[1], rows / shape_yx[0]], np.float32)
        return torch.from_numpy(((xy + 0.5) * scale - 0.5).astype(np.float32)).to(self.device)

    def _points(self, prompts: PromptSet, shape_yx: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor] | None:
        import torch

        if not len(prompts.points_xy):
            return None
        labels = torch.from_numpy(prompts.point_labels.astype(np.int64)).to(self.device)
        return self._in_frame(prompts.points_xy, shape_yx)[None], labels[None]

    def _box(self, prompts: PromptSet, shape_yx: tuple[int, int]) -> torch.Tensor | None:
        if prompts.box_xyxy is None:
            return None
        height, width = shape_yx
        x0, y0, x1, y1 = prompts.box_xyxy
        if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
            raise PromptError(
                f"The box {prompts.box_xyxy} lies outside the image, which is {width} x {height} pixels (x, y)."
            )
        corners = np.array([[max(x0, 0), max(y0, 0)], [min(x1, width - 1), min(y1, height - 1)]], np.float32)
        return self._in_frame(corners, shape_yx).reshape(1, 4)

    def _mask(self, prompts: PromptSet, shape_yx: tuple[int, int]) -> torch.Tensor | None:
        """The mask prompt at the decoder's resolution, float32 (1, 1, rows, columns); padding is background."""
        import torch
        from torch.nn import functional

        if prompts.mask_logits_yx is None:
            return None
        side = int(self._network.prompt_encoder.mask_input_size[0])
        rows, columns = (max(1, round(length * side / self._input_size)) for length in self.frame_yx(shape_yx))
        logits = torch.from_numpy(np.clip(prompts.mask_logits_yx, -_LOGIT_LIMIT, _LOGIT_LIMIT).astype(np.float32))
        small = functional.interpolate(logits[None, None], (rows, columns), mode="bilinear", antialias=True)
        padded = functional.pad(small, (0, side - columns, 0, side - rows), value=-_LOGIT_LIMIT / 2)
        return padded.to(self.device)
