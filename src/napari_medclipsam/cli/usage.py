"""How usage errors are said, and values that several verbs take. Standard library only."""

from __future__ import annotations

import argparse
import difflib
from typing import Any

Verbs = argparse._SubParsersAction


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the usage of the very verb that was typed, and which option may have been meant."""

    def parse_known_args(self, *args: Any, **kwargs: Any) -> tuple[Any, list[str]]:
        """Parse, and refuse what is not known here rather than in the verb above."""
        found, extra = super().parse_known_args(*args, **kwargs)
        if extra:
            near = difflib.get_close_matches(extra[0].partition("=")[0], self._option_string_actions, n=1)
            self.error(f"{extra[0]!r} is not known here" + (f"; do you mean {near[0]}?" if near else ""))
        return found, extra


def seconds(text: str) -> float:
    """Return the seconds of ``90s``, ``10m``, ``2h`` or a plain number."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        total = float(number) * unit
    except ValueError:
        total = 0.0
    if not 0 < total < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 90s, 10m or 2h")
    return total


def positive(text: str) -> int:
    """Return a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number
