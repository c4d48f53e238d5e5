"""What of a case should be in the index, and under which hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from napari_medclipsam.annotation.book import Book
from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.states import PackedMask
from napari_medclipsam.images.intensity import Window
from napari_medclipsam.projects.review import CaseReview
from napari_medclipsam.search.rows import HASH_BYTES


@dataclass(frozen=True, eq=False)
class WantedSlice:
    """One slice.

    Parameters
    ----------
    at : SliceAt
        Which.
    regions : dict
        Object → its accepted mask, as it is stored.
    """

    at: SliceAt
    regions: Mapping[ObjectKey, PackedMask]

    @classmethod
    def of(cls, book: Book, at: SliceAt) -> WantedSlice:
        """Return a slice as it is decided now: the objects that are accepted, not empty, and have no newer proposal."""
        found = {}
        for key, state in book.state(at).objects.items():
            if state.accepted is not None and state.proposal is None:
                mask = PackedMask.of(book.masks.object_mask(at, key))
                if not mask.is_empty:
                    found[key] = mask
        return cls(at, found)


def slices_of(shape: tuple[int, ...], seen: SliceAt | None, more: Iterable[SliceAt] = ()) -> list[SliceAt]:
    """Return the slices of a case: along the axis that was read last, and others that something is known of.

    Parameters
    ----------
    shape : tuple of int
        Of its grid.
    seen : SliceAt or None
        What was looked at last; None for a case that is new.
    more : iterable of SliceAt
        Others.
    """
    first = CaseReview.untouched(shape).at(0) if seen is None else seen
    along = [first] if first.axis is None else [first.moved(index) for index in range(shape[first.axis])]
    return list(dict.fromkeys([*along, *more]))


def wanted_of(book: Book, seen: SliceAt | None) -> list[WantedSlice]:
    """Return all that should be in the index of a case; see `slices_of`."""
    accepted = [at for at, state in book.states.items() if any(s.accepted for s in state.objects.values())]
    return [WantedSlice.of(book, at) for at in slices_of(book.masks.labels.shape, seen, accepted)]


def indexed_window(window: Window) -> str:
    """Return the intensity window that a case is indexed in.

    A preset counts, for it says what is looked at; contrast that was drawn by hand does not: every touch of it would
    make all vectors of the case anew.
    """
    return window if isinstance(window, str) else "auto"


def slice_hash(image: str, window: str, at: SliceAt) -> bytes:
    """Return what names the pixels of a slice: content of the image, window, position."""
    return _digest(image, window, str(at.position))


def region_hash(of_slice: bytes, mask: PackedMask) -> bytes:
    """Return what names a region of a slice."""
    return _digest(of_slice.hex(), str(mask.part_yx), mask.bits.hex())


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()[:HASH_BYTES]
