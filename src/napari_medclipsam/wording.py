"""How messages say a number of things."""

from __future__ import annotations


def counted(n: int, noun: str, plural: str = "") -> str:
    """Return "1 slice", "2 slices"; the plural is given where it is not the noun with an s."""
    return f"{n} {noun}" if n == 1 else f"{n} {plural or noun + 's'}"
