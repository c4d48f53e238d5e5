"""How usage errors are said. Standard library only."""

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
