"""All structures of the vocabulary, ready to be asked of a slice in one pass of the grounding head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from napari_medclipsam.models.lite.known import Familiarity
from napari_medclipsam.models.lite.phrases import phrase_book
from napari_medclipsam.models.lite.region import STRUCTURE_REGIONS, believed


def plain_names() -> tuple[str, ...]:
    """Return the plain name of each structure."""
    return tuple(structure.nouns[0] for structure in phrase_book().structures.values())


def named(familiarity: Familiarity) -> tuple[str, str]:
    """Return the plain name of the structure that a phrase was taken for, and its kind; see `KnowsStructures`."""
    if not familiarity.known:
        return "", ""
    structure = phrase_book().structures[familiarity.structure]
    kind = next((kind for kind, own in structure.kinds.items() if familiarity.nearest_phrase in own), "")
    return structure.nouns[0], kind


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The plain name of each structure as the head is asked for it.

    Parameters
    ----------
    vectors : torch.Tensor
        float32 (n, 384).
    offsets : torch.Tensor
        float32 (n,), the presence logit that counts as 0.5.
    structures : tuple of str
        What the vocabulary calls each.
    """

    vectors: torch.Tensor
    offsets: torch.Tensor
    structures: tuple[str, ...]

    @classmethod
    def of(
        cls,
        familiarity: Callable[[str], Familiarity],
        offset: Callable[[str], float],
        device: torch.device,
    ) -> Vocabulary:
        """Ask the bank for each plain name, as a reader's text is asked."""
        found = [familiarity(name) for name in plain_names()]
        return cls(
            torch.from_numpy(np.stack([one.vector for one in found])).to(device),
            torch.tensor([offset(one.structure) for one in found], device=device),
            tuple(one.structure for one in found),
        )

    def presences(self, logits: torch.Tensor, regions: Mapping[str, float]) -> dict[str, float]:
        """Return the presence of each structure from the presence logits (n,) and the regions of the slice."""
        scores = (logits - self.offsets).sigmoid().tolist()
        return {
            name: believed(score, regions[STRUCTURE_REGIONS[structure]])
            for name, score, structure in zip(plain_names(), scores, self.structures, strict=True)
        }
