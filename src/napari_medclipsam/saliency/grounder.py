"""Text to saliency with any CLIP model: words become an ensemble, a method makes the map, two questions judge it.

Is it there? The text must fit the image better than texts that fit every image, and than its own opposites. Did the
text matter? The map must differ from the map of meaningless words. Neither is calibrated on anything: use the figures
to rank, and expect absent findings to be called present.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import MIN_SPECIFICITY, SaliencyMap
from napari_medclipsam.saliency.maps import at_image_size, likeness, min_max
from napari_medclipsam.saliency.method_times import MethodTimes
from napari_medclipsam.saliency.methods import DEFAULT_METHOD, make_method
from napari_medclipsam.saliency.prompt_book import PromptBook, is_readable, prompt_book
from napari_medclipsam.saliency.tower import Tower
from napari_medclipsam.saliency.work import Work

if TYPE_CHECKING:
    import torch

    from napari_medclipsam.models.clip import OpenClipEncoder

# Text towers read every text at their full length: a few at a time keeps the memory small.
_TEXT_BATCH = 16


class ClipGrounder:
    """A CLIP model and a saliency method as a `TextGrounder`.

    Parameters
    ----------
    encoder : OpenClipEncoder
        Its image tower must be a vision transformer of timm (as in BiomedCLIP) or of open_clip.
    method : str
        One of ``saliency.methods.METHODS``.
    settings : dataclass, optional
        Of the method; the papers' values by default.
    book : PromptBook, optional
        Templates, opposites and null prompts; those of the package by default.
    contrast : float
        This share of the mean vector of opposites and null prompts is taken off the text's before the map is made.
        0, as in the papers, leaves the text as it is; 1 asks what the text has over them.

    Raises
    ------
    ModelError
        If the method is unknown, or the encoder lacks a layer that it needs; the message names those it has.
    """

    is_calibrated = False

    def __init__(
        self,
        encoder: OpenClipEncoder,
        method: str = DEFAULT_METHOD,
        settings: Any = None,
        *,
        book: PromptBook | None = None,
        contrast: float = 0.0,
    ) -> None:
        self.name = f"{encoder.name}:{method}"
        self.encoder = encoder
        self.method = method
        self.times = MethodTimes()
        self._method = make_method(method, Tower.of(encoder), settings)
        self._made_by = (method, settings)
        self._book = book or prompt_book()
        self._contrast = contrast
        self._vectors: dict[str, np.ndarray] = {}
        self._work = Work()

    def with_method(self, method: str) -> ClipGrounder:
        """Return the same model with another method and its default settings; weights and vectors are shared.

        Raises
        ------
        ModelError
            As the class itself.
        """
        other = copy.copy(self)
        other.name, other.method = f"{self.encoder.name}:{method}", method
        other._method = make_method(method, Tower.of(self.encoder))
        other._made_by = (method, None)
        return other

    def with_encoder(self, encoder: OpenClipEncoder) -> ClipGrounder:
        """Return the same method with another encoder, such as a fine-tuned one."""
        return ClipGrounder(encoder, *self._made_by, book=self._book, contrast=self._contrast)

    def time_forward(self) -> None:
        """Time the model on a slice, so that `times` knows what every method costs."""
        gray = np.arange(256, dtype=np.uint8)
        image = Slice(np.ascontiguousarray(np.broadcast_to(gray, (256, 256))))
        self.times.measure_forward(lambda: self.encoder.embed_image(image))

    def watched(
        self, progress: Callable[[int, int], None] | None, cancelled: Callable[[], bool] | None
    ) -> ClipGrounder:
        """See `GroundsInSteps`."""
        other = copy.copy(self)
        other._work = Work(progress, cancelled)
        return other

    def saliency(self, image: Slice, text: str) -> SaliencyMap:
        """Return where `text` is seen in `image`; see `compare`."""
        return self.compare(image, [text])[0]

    def compare(self, image: Slice, texts: Sequence[str]) -> list[SaliencyMap]:
        """Return a map for each of several texts, or phrasings of one, for little more than the cost of one.

        Parameters
        ----------
        image : Slice
            The slice as the reader sees it.
        texts : sequence of str
            A text that is there twice is answered once. One that is not written in Latin letters is not known.

        Returns
        -------
        list of SaliencyMap
            In the order of `texts`. ``presence`` is the logistic function of the model's scale times the cosine of the
            text over the best of its opposites and the null prompts. ``specificity`` is one minus the correlation with
            the map of meaningless words; 0 for a constant map. ``present`` needs presence above 0.5 and specificity
            above ``models.contracts.MIN_SPECIFICITY``.

        Raises
        ------
        PromptError
            If a text is empty.
        SaliencyCancelled
            If it is cancelled.
        """
        if any(not text.strip() for text in texts):
            raise PromptError("The text is empty. Say what to look for, such as 'brain tumor'.")
        known = [text for text in dict.fromkeys(texts) if is_readable(text)]
        answers = self._answers(image, known) if known else {}
        return [answers.get(text) or _not_known(image, text) for text in texts]

    def _answers(self, image: Slice, texts: Sequence[str]) -> dict[str, SaliencyMap]:
        import torch

        device = self.encoder.device
        asked = np.stack([*(self._direction(text) for text in texts), self._mean(self._book.meaningless)])
        pixels, vectors = self.encoder.image_tensor(image), torch.from_numpy(asked).to(device)
        # Several texts at once say little about what one costs.
        with self.times.measured(self.method, self._work) if len(texts) == 1 else nullcontext():
            maps, vector = self._method.maps(pixels, vectors, self._work)
        if not (torch.isfinite(maps).all() and torch.isfinite(vector).all()):
            raise ModelError(
                f"Model {self.encoder.name!r} gave numbers that are not finite on {device}. Try --device cpu."
            )
        vector_d = vector.cpu().numpy()
        return {text: self._answer(image, text, maps[i], maps[-1], vector_d) for i, text in enumerate(texts)}

    def _answer(
        self, image: Slice, text: str, own: torch.Tensor, meaningless: torch.Tensor, vector_d: np.ndarray
    ) -> SaliencyMap:
        contrast = self._mean(self._book.question(text).positive) @ vector_d - (self._others(text) @ vector_d).max()
        presence = float(1 / (1 + np.exp(-self.encoder.scale * contrast)))
        is_flat = not bool(min_max(own).any())
        specificity = 0.0 if is_flat else 1 - likeness(own, meaningless)
        return SaliencyMap(
            values_yx=at_image_size(own, image.shape_yx),
            text=text,
            presence=presence,
            present=presence > 0.5 and specificity > MIN_SPECIFICITY,
            specificity=specificity,
        )

    def _direction(self, text: str) -> np.ndarray:
        """Return the vector that the map is made for, (d,)."""
        own = self._mean(self._book.question(text).positive)
        return _unit(own - self._contrast * self._others(text).mean(axis=0)) if self._contrast else own

    def _others(self, text: str) -> np.ndarray:
        """Return the vectors of what the text must fit better than, (n, d)."""
        return self._embedded((*self._book.question(text).negative, *self._book.null))

    def _mean(self, texts: Sequence[str]) -> np.ndarray:
        return _unit(self._embedded(texts).mean(axis=0))

    def _embedded(self, texts: Sequence[str]) -> np.ndarray:
        """Return one unit vector for each text, (n, d); each is computed once for all slices."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        for start in range(0, len(new), _TEXT_BATCH):
            part = new[start : start + _TEXT_BATCH]
            self._vectors.update(zip(part, self.encoder.embed_text(part), strict=True))
        return np.stack([self._vectors[text] for text in texts])


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector


def _not_known(image: Slice, text: str) -> SaliencyMap:
    return SaliencyMap(np.zeros(image.shape_yx, np.float32), text, 0.0, False, known=False, specificity=0.0)
