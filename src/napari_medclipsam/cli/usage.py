"""How usage errors are said. Standard library only."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import Any

Verbs = argparse._SubParsersAction

# Such as -160,240: else a window or a box that begins with a minus would be taken for an option.
_NUMBERS = re.compile(r"^-[\d.][\d.,+-]*$")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the usage of the very verb that was typed, and which word may have been meant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = _NUMBERS

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and refuse what is not known here rather than in the verb above."""
        if args is not None and self._subparsers is None:
            # Before argparse misses the option that was meant.
            self._refuse_unknown(args)
        found, extra = super().parse_known_args(args, namespace)
        if extra:
            self._refuse(extra[0])
        return found, extra

    def _refuse_unknown(self, args: Iterable[str]) -> None:
        for arg in args:
            if arg == "--":
                return
            name = arg.partition("=")[0]
            if arg.startswith("--") and not any(known.startswith(name) for known in self._option_string_actions):
                self._refuse(arg)

    def _refuse(self, arg: str) -> None:
        self.error(f"{arg!r} is not known here{_meant(arg.partition('=')[0], self._option_string_actions)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the choice that is spelled most like what was typed."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            hint = _meant(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f"{error.message}{hint}") from None


def _meant(typed: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(typed, known, n=1)
    return f"; do you mean {near[0]}?" if near else ""
