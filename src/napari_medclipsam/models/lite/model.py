"""medclipsam-lite: text to saliency and prompts to masks, both from one embedding of the slice."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from napari_medclipsam.errors import PromptError
from napari_medclipsam.files import sha256_of
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import Embedding, MaskResult, PromptSet, SaliencyMap
from napari_medclipsam.models.embedding_cache import EmbeddingCache, embedding_key
from napari_medclipsam.models.lite.canvas_prompts import canvas_mask, canvas_points
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.compiled import GaveWayError
from napari_medclipsam.models.lite.encoder import build_encoder, load_litemedsam
from napari_medclipsam.models.lite.few_tokens import CHANNELS, FOLD, build_clicks
from napari_medclipsam.models.lite.grounding import GroundingHead
from napari_medclipsam.models.lite.known import Familiarity
from napari_medclipsam.models.lite.parts import LiteFiles, load_decoder, load_grounding
from napari_medclipsam.models.lite.preprocess import VERSION, Fit, from_canvas, to_canvas
from napari_medclipsam.models.lite.region import STRUCTURE_REGIONS, believed
from napari_medclipsam.models.lite.regions import RegionReader
from napari_medclipsam.models.lite.structures import Drawn, StructureReader
from napari_medclipsam.models.lite.text import TextEncoder
from napari_medclipsam.models.lite.vocabulary import Vocabulary, named, plain_names

_NULL_PHRASE = "image"
_REMEMBERED = 8
_FLAT = 1e-6


@dataclass(frozen=True, eq=False)
class Seen:
    """What is made of a slice before a phrase is heard.

    Parameters
    ----------
    trunk : tuple of torch.Tensor
        The head's features.
    null_values : numpy.ndarray
        The head's answer to a phrase that means nothing.
    regions : dict of str to float
        How probable each region of the body is.
    drawn : Drawn
        Each taught structure, read from the picture itself.
    """

    trunk: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    null_values: np.ndarray
    regions: dict[str, float]
    drawn: Drawn


class LiteModel:
    """A TextGrounder with a vocabulary, a PromptableSegmenter and a RegionEncoder in one.

    Parameters
    ----------
    files : LiteFiles
        The weights.
    encoder_hash : str
        SHA-256 of the image encoder's weights, part of every cache key.
    device : str
        "cpu", "cuda" or "mps".
    cache : EmbeddingCache, optional
        Default: memory and the user's cache folder.
    """

    name = "lite"
    # A region further than this from all of some names is none of them: so are 99 in 100 lesions of other organs, and
    # 1 in 100 of those that were named rightly, among the pictures held out.
    least_cosine = 0.4
    knows_ct = False

    def __init__(
        self, files: LiteFiles, encoder_hash: str, device: str = "cpu", cache: EmbeddingCache | None = None
    ) -> None:
        litemedsam = load_litemedsam(files.litemedsam)
        self._encode = build_encoder(litemedsam.image_encoder, device, encoder_hash)
        self._texts = TextEncoder(files.text_weights, files.tokenizer)
        self._device = torch.device(device)
        head, self.bank, self.calibration = load_grounding(files.grounding)
        self._head = head.to(self._device)
        self._files = files
        self._clicks = build_clicks(lambda: load_decoder(litemedsam, files.clicks), device, sha256_of(files.clicks))
        self._clicked: tuple[str, Any] = ("", None)
        self._regions = RegionReader(files.regions, self._texts, encoder_hash)
        self._structures = StructureReader(files.structures, device)
        self.scale = self._regions.scale
        self.version = sha256_of(files.regions)[:8]
        self.presence_version = sha256_of(files.grounding)[:8] + self._structures.version[:8]
        self._vocabulary: Vocabulary | None = None
        self._encoder_hash = encoder_hash
        self._cache = cache if cache is not None else EmbeddingCache()
        self._remembered: OrderedDict[str, Seen] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, image: Slice) -> Embedding:
        """Encode a slice, or take it from the cache.

        Parameters
        ----------
        image : Slice
            What the reader sees.

        Returns
        -------
        Embedding
            Its features are float32 (304, 64, 64): the encoder's 256 channels, then the picture itself, each 4×4
            square of its three colours folded into 48 channels, for the click decoder to see edges by.

        Raises
        ------
        ImageError
            If every pixel has the same value.
        """
        key = embedding_key(image, self._encoder_hash, VERSION)
        features = self._cache.get_or_compute(key, lambda: self._features(key, to_canvas(image.pixels)))
        return Embedding(features, image.shape_yx, key)

    def embed_ahead(self, image: Slice, cancelled: Callable[[], bool]) -> bool:
        """Encode a slice into the cache, unless something more urgent comes; False if it did.

        Parameters
        ----------
        image : Slice
            What the reader is likely to look at next.
        cancelled : callable
            Asked every few milliseconds, on a CPU.
        """
        key = embedding_key(image, self._encoder_hash, VERSION)
        try:
            self._cache.get_or_compute(key, lambda: self._features(key, to_canvas(image.pixels), cancelled))
        except GaveWayError:
            return False
        return True

    def _features(self, key: str, canvas: np.ndarray, cancelled: Callable[[], bool] | None = None) -> np.ndarray:
        encoded = self._encode(canvas, cancelled)
        canvas = _as_cached(canvas)
        self._drawn(key, lambda: canvas)
        return np.concatenate([encoded, torch.nn.functional.pixel_unshuffle(torch.from_numpy(canvas), FOLD).numpy()])

    def drawn(self, embedding: Embedding) -> Drawn:
        """Return each taught structure as it is read from the picture of an embedding."""
        folded = torch.from_numpy(embedding.features[CHANNELS:])
        return self._drawn(embedding.key, lambda: torch.nn.functional.pixel_shuffle(folded, FOLD).numpy())

    def _drawn(self, key: str, canvas: Callable[[], np.ndarray]) -> Drawn:
        kept = self._cache.get_or_compute(f"{key} {self._structures.version}", lambda: self._structures(canvas()))
        return self._structures.unpacked(kept)

    @torch.inference_mode()
    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """Say where a phrase is seen, whether it is there, and whether it is known at all.

        Parameters
        ----------
        image : Slice
            What the reader sees.
        text : str
            One phrase.

        Returns
        -------
        SaliencyMap
            All zeros for a phrase the model does not know.

        Raises
        ------
        PromptError
            If the phrase is empty.
        ImageError
            If every pixel has the same value.
        """
        phrase = " ".join(text.split())
        if not phrase:
            raise PromptError("The text is empty. Type what to look for, for example: brain tumor")
        familiarity = self._familiarity(phrase)
        if not familiarity.known:
            empty = np.zeros(image.shape_yx, np.float32)
            return SaliencyMap(empty, text, 0.0, False, False, 0.0, familiarity.nearest_phrase)
        structure = familiarity.structure
        found = self.grounded(image, text, familiarity.vector, self._offset(structure), structure)
        region = self.seen(self.embed(image)).regions[STRUCTURE_REGIONS[structure]]
        score = believed(found.presence, region)
        present = score >= 0.5 and found.depends_on_text
        # Said here and not in `grounded`, which also answers for classes that readers have taught, perhaps on CT.
        nearest, name = familiarity.nearest_phrase, named(familiarity)[0]
        return replace(
            found, presence=score, present=present, nearest_phrase=nearest, knows_ct=self.knows_ct, structure=name
        )

    @torch.inference_mode()
    def grounded(self, image: Slice, text: str, vector: np.ndarray, offset: float, structure: str = "") -> SaliencyMap:
        """Say where the head sees a phrase, whether or not it was taught.

        Parameters
        ----------
        image : Slice
            What the reader sees.
        text : str
            The phrase.
        vector : numpy.ndarray
            float32 (384,), that of the phrase.
        offset : float
            The presence logit that counts as 0.5.
        structure : str
            What it names, if it was taught: then the structure as it is read from the picture is joined in.
        """
        seen = self.seen(self.embed(image))
        logits, presence = self._head.answer(seen.trunk, torch.from_numpy(vector)[None].to(self._device))
        values = seen.drawn.joined_map(structure, logits[0]).sigmoid().cpu().numpy()
        score = float((seen.drawn.joined_presences([structure], presence)[0] - offset).sigmoid())
        map_yx = np.clip(from_canvas(values, Fit.of(image.shape_yx)), 0.0, 1.0)
        # Of the head alone: only it heard the phrase.
        specificity = _difference(logits[0].sigmoid().cpu().numpy(), seen.null_values)
        return SaliencyMap(map_yx, text, score, score >= 0.5, True, specificity)

    @torch.inference_mode()
    def ruled_out(self, image: Slice, text: str) -> SaliencyMap | None:
        """See `RulesOut`: the slice is not encoded for it."""
        familiarity = self._familiarity(" ".join(text.split()))
        if not familiarity.known:
            return None
        offset = self._offset(familiarity.structure)
        key = embedding_key(image, self._encoder_hash, VERSION)
        drawn = self._drawn(key, lambda: _as_cached(to_canvas(image.pixels)))
        if not drawn.rules_out(familiarity.structure, offset):
            return None
        presence = float((drawn.presence(familiarity.structure) - offset).sigmoid())
        empty = np.zeros(image.shape_yx, np.float32)
        nearest = familiarity.nearest_phrase
        return SaliencyMap(empty, text, presence, False, nearest_phrase=nearest, knows_ct=self.knows_ct)

    def nearest_known(self, text: str) -> tuple[bool, str]:
        """See `KnowsPhrases`."""
        familiarity = self._familiarity(" ".join(text.split()))
        return familiarity.known, familiarity.nearest_phrase

    def unheard(self, text: str) -> tuple[str, ...]:
        """See `KnowsPhrases`."""
        return self.bank.unheard(text)

    @property
    def structures(self) -> tuple[str, ...]:
        """See `KnowsStructures`."""
        return plain_names()

    def structure_of(self, text: str) -> tuple[str, str]:
        """See `KnowsStructures`."""
        return named(self._familiarity(" ".join(text.split())))

    @torch.inference_mode()
    def presences(self, image: Slice) -> dict[str, float]:
        """Return the presence of each structure; see `KnowsStructures`. Raises as `saliency`."""
        if self._vocabulary is None:
            self._vocabulary = Vocabulary.of(self._familiarity, self._offset, self._device)
        seen = self.seen(self.embed(image))
        _, logits = self._head.answer(seen.trunk, self._vocabulary.vectors)
        joined = seen.drawn.joined_presences(self._vocabulary.structures, logits)
        return self._vocabulary.presences(joined, seen.regions)

    def _offset(self, structure: str) -> float:
        return self.calibration.presence_offsets.get(structure, self.calibration.presence_offset)

    def _familiarity(self, phrase: str) -> Familiarity:
        return self.bank.judge(phrase, self.phrase_vector(phrase))

    def phrase_vector(self, text: str) -> np.ndarray:
        """Return what the text encoder makes of a phrase, float32 (384,)."""
        return np.asarray(self._texts([" ".join(text.split())])[0], np.float32)

    def seen(self, embedding: Embedding) -> Seen:
        """Return what the head makes of a slice before it hears a phrase; the last few are remembered."""
        with self._lock:
            if embedding.key in self._remembered:
                self._remembered.move_to_end(embedding.key)
                return self._remembered[embedding.key]
        encoded = torch.from_numpy(embedding.features[:CHANNELS])[None].to(self._device)
        trunk = self._head.trunk(encoded)
        null = torch.from_numpy(self._texts([_NULL_PHRASE])).to(self._device)
        null_values = self._head.answer(trunk, null)[0][0].sigmoid().cpu().numpy()
        seen = Seen(trunk, null_values, self._head.region.probabilities(encoded), self.drawn(embedding))
        with self._lock:
            self._remembered[embedding.key] = seen
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return seen

    @torch.inference_mode()
    def masks(self, embedding: Embedding, prompts: PromptSet) -> MaskResult:
        """Outline the one object that points, a box and an earlier mask describe.

        Parameters
        ----------
        embedding : Embedding
            From `embed`.
        prompts : PromptSet
            At least one of points, box and mask.

        Returns
        -------
        MaskResult
            Logits at image size.

        Raises
        ------
        PromptError
            If there is no prompt, or the mask prompt is not of the image's size.
        """
        if prompts.is_empty:
            raise PromptError("There is no prompt. Click on the structure or draw a box around it.")
        fit = Fit.of(embedding.shape_yx)
        points, labels = canvas_points(prompts, fit)
        mask = canvas_mask(prompts, fit)
        logits, estimated = self._clicks(self._prepared(embedding), points, labels, mask)
        return MaskResult(from_canvas(logits, fit), min(max(estimated, 0.0), 1.0))

    @torch.inference_mode()
    def told(self, embedding: Embedding, phrase: str) -> torch.Tensor:
        """Return the head's features of a slice under a phrase, known or not: float32 (64, 64, 64)."""
        text = self._head.text(torch.from_numpy(self._texts([phrase])).to(self._device))
        return self._head.told(self.seen(embedding).trunk, text)[2][0].cpu()

    def embed_image(self, image: Slice) -> np.ndarray:
        """Return the unit vector of a slice, float32 (256,); raises ImageError if every pixel has the same value."""
        return self._regions.image(self.embed(image))

    def embed_regions(self, image: Slice, masks_nyx: np.ndarray) -> np.ndarray:
        """Return unit vectors of regions, float32 (n, 256); see `RegionEncoder.embed_regions`."""
        return self._regions.regions(self.embed(image), masks_nyx)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors of texts, float32 (n, 256); raises PromptError if one is empty."""
        return self._regions.text(texts)

    def parts(self) -> tuple[GroundingHead, ClickDecoder]:
        """Return copies of the trained parts, in float32 and on the CPU, to train them on."""
        decoder = load_decoder(load_litemedsam(self._files.litemedsam), self._files.clicks)
        return copy.deepcopy(self._head).cpu(), decoder

    @property
    def encoder_hash(self) -> str:
        """SHA-256 of the image encoder's weights."""
        return self._encoder_hash

    def encoder_network(self) -> torch.nn.Module:
        """Return a copy of the image encoder as a torch network, on the CPU, to train it on."""
        network: torch.nn.Module = load_litemedsam(self._files.litemedsam).image_encoder
        return network

    def adapted(self, head: GroundingHead, decoder: ClickDecoder | None, weights_hash: str) -> LiteModel:
        """Return this model with other trained parts; encoder, texts and cache are shared.

        Parameters
        ----------
        head, decoder : torch.nn.Module
            From `parts`, trained on; None for the decoder that it has.
        weights_hash : str
            SHA-256 of the weights of both: under it the converted decoder is kept.
        """
        other = copy.copy(self)
        other._head = head.eval().requires_grad_(False).to(self._device)
        if decoder is not None:
            trained = decoder.eval().requires_grad_(False)
            other._clicks = build_clicks(lambda: trained, self._device.type, weights_hash)
        other.presence_version = weights_hash[:8]
        other._clicked, other._remembered, other._lock = ("", None), OrderedDict(), threading.Lock()
        return other

    def _prepared(self, embedding: Embedding) -> Any:
        """The embedding as the click decoder takes it; the last one is remembered, as clicks come in rows."""
        key, prepared = self._clicked
        if key != embedding.key:
            prepared = self._clicks.prepare(embedding.features)
            self._clicked = (embedding.key, prepared)
        return prepared


def _as_cached(canvas: np.ndarray) -> np.ndarray:
    """A canvas as the cache will give it back, in half precision: answers are not to depend on who asked first."""
    return canvas.astype(np.float16).astype(np.float32)


def _difference(values: np.ndarray, null_values: np.ndarray) -> float:
    """Return 1 minus the correlation of two maps, in [0, 1]: whether the text mattered; 0 for a map that is flat."""
    if values.std() < _FLAT:
        return 0.0
    if null_values.std() < _FLAT:
        return 1.0
    return float(np.clip(1.0 - np.corrcoef(values.ravel(), null_values.ravel())[0, 1], 0.0, 1.0))
