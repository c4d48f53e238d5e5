"""A progress bar on standard error, where a person watches."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tqdm import tqdm


def progress_bar(total: int, unit: str) -> tqdm:
    """Return a bar; it stays silent when standard error is a file or a pipe, where it would only fill the log."""
    return tqdm(total=total, unit=f" {unit}", file=sys.stderr, disable=None, leave=False, dynamic_ncols=True)


def shown_on(bar: tqdm) -> Callable[[int, int], None]:
    """Return a progress callback that shows on `bar` how much of how much is done."""

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return show
