"""Pairs as a text-image encoder takes them, and batches in which no caption is there twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from napari_medclipsam.errors import ImageError, LearningError, MedclipsamError
from napari_medclipsam.learning.captions import CaptionedImage
from napari_medclipsam.models.clip import OpenClipEncoder

#: Of prepared pictures, kept in memory; others are read again each time.
_MOST_BYTES = 2 << 30
_TEXTS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Prepared:
    """Pairs that can be read, with their texts in tokens.

    Parameters
    ----------
    encoder : OpenClipEncoder
        Whose input they are.
    pairs : sequence of CaptionedImage
        n.
    tokens : torch.Tensor
        int64 (n, context length).
    n_cut : int
        Captions of which the encoder reads the beginning only.
    unreadable : tuple of str
        Places of pairs whose image can't be read, in the source.
    """

    encoder: OpenClipEncoder
    pairs: Sequence[CaptionedImage]
    tokens: torch.Tensor
    n_cut: int
    unreadable: tuple[str, ...]
    _kept: dict[int, torch.Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def topics(self) -> list[str]:
        """See `CaptionedImage.topic`."""
        return [pair.topic for pair in self.pairs]

    @property
    def mark(self) -> str:
        """Changes with the pairs."""
        listed = "\n".join(f"{pair.key}\t{pair.caption}" for pair in self.pairs)
        return hashlib.sha256(listed.encode()).hexdigest()[:16]

    def some(self, which: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pictures, float32 (k, 3, rows, columns), and tokens (k, length), on the CPU."""
        return torch.stack([self._picture(i) for i in which]).float(), self.tokens[list(which)]

    def drawn(self, n: int, rng: np.random.Generator) -> list[int]:
        """Return `n` pairs of different captions; a caption is the likelier the more pairs have it."""
        topics, found, taken = self.topics, [], set()
        for index in rng.permutation(len(self.pairs)):
            if topics[index] not in taken:
                taken.add(topics[index])
                found.append(int(index))
                if len(found) == n:
                    break
        return found

    def _picture(self, index: int) -> torch.Tensor:
        return self._kept[index] if index in self._kept else _tensor(self.encoder, self.pairs[index])


def prepared(encoder: OpenClipEncoder, pairs: Sequence[CaptionedImage], step: Callable[[float], None]) -> Prepared:
    """Read every image once, leave out what can't be read or has no contrast, and cut the texts.

    Parameters
    ----------
    encoder : OpenClipEncoder
        Whose input they shall be.
    pairs : sequence of CaptionedImage
        All.
    step : callable
        Told the fraction that is done, between any two images.

    Raises
    ------
    LearningError
        If no image can be read.
    """
    kept: dict[int, torch.Tensor] = {}
    good: list[CaptionedImage] = []
    unreadable, room = [], _MOST_BYTES
    for number, pair in enumerate(pairs):
        step(number / len(pairs))
        try:
            picture = _tensor(encoder, pair)
        except (MedclipsamError, OSError):
            unreadable.append(pair.place)
            continue
        room -= picture.nbytes
        if room > 0:
            kept[len(good)] = picture
        good.append(pair)
    if not good:
        raise LearningError(f"None of the {len(pairs)} images can be read, or all are of one gray; check the files.")
    captions = [pair.caption for pair in good]
    tokens = [encoder.tokens(captions[i : i + _TEXTS_AT_ONCE]) for i in range(0, len(captions), _TEXTS_AT_ONCE)]
    n_cut = sum(encoder.count_tokens(caption) > encoder.context_length for caption in captions)
    return Prepared(encoder, good, torch.cat(tokens), n_cut, tuple(unreadable), kept)


def _tensor(encoder: OpenClipEncoder, pair: CaptionedImage) -> torch.Tensor:
    """Return a picture in half precision, whether it is kept or not: it shall not matter which."""
    image = pair.read()
    if image.pixels.min() == image.pixels.max():
        raise ImageError("The image has no contrast.")
    return encoder.image_tensor(image)[0].half().cpu()


@torch.inference_mode()
def vectors(
    encoder: OpenClipEncoder, ready: Prepared, at_once: int, step: Callable[[float], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors of all images and captions, float32 (n, d) each.

    Parameters
    ----------
    encoder : OpenClipEncoder
        May be another than that the pairs were prepared for, of the same architecture.
    ready : Prepared
        The pairs.
    at_once : int
        So many are in memory together.
    step : callable
        Told the fraction that is done.
    """
    images, texts = [], []
    for first in range(0, len(ready), at_once):
        step(first / len(ready))
        pictures, tokens = ready.some(range(first, min(first + at_once, len(ready))))
        images.append(encoder.network.encode_image(pictures.to(encoder.device), normalize=True).float().cpu())
        texts.append(encoder.network.encode_text(tokens.to(encoder.device), normalize=True).float().cpu())
    return torch.cat(images).numpy(), torch.cat(texts).numpy()
