"""From what was typed after an option to its value. Standard library only, as the parser."""

from __future__ import annotations

import argparse


def seconds(text: str) -> float:
    """Return the seconds of ``90s``, ``10m``, ``2h`` or a plain number."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 90s, 10m or 2h")
    return seconds


def like(text: str) -> tuple[str, int, str]:
    """Return case, slice and class of ``CASE:SLICE:CLASS``; a class may have colons in its name."""
    case, _, rest = text.partition(":")
    index, _, name = rest.partition(":")
    if not case or not index.isdecimal() or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no region; write CASE:SLICE:CLASS, such as c0001:12:tumor")
    return case, int(index), name.strip()


def window(text: str) -> str | tuple[float, float]:
    """Return a window's name, or its ends from ``LOW,HIGH``."""
    low, comma, high = text.partition(",")
    if not comma:
        return text
    return (float(low), float(high))


def positive(text: str) -> int:
    """Return a whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


def box(text: str) -> tuple[float, ...]:
    """Return the four numbers of ``X0,Y0,X1,Y1``."""
    parts = text.split(",")
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is no box; write X0,Y0,X1,Y1 in pixels")
    return numbers
