"""How messages say a number of things, and which of them."""

from __future__ import annotations


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return "1 slice", "2 slices"; the plural is given where it is not the noun with an s."""
    return f"{n} {noun}" if n == 1 else f"{n} {plural or noun + 's'}"


def slice_place(index: int, count: int) -> str:
    """Return "slice 6 of 0–21": slices are counted from 0 everywhere, along the axis as it is stored."""
    return f"slice {index} of 0–{count - 1}"
