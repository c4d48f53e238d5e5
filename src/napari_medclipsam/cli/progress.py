"""A progress bar on standard error, where a person watches."""

from __future__ import annotations

import sys

from tqdm import tqdm


def progress_bar(total: int, unit: str) -> tqdm:
    """Return a bar; it stays silent when standard error is a file or a pipe, where it would only fill the log."""
    return tqdm(total=total, unit=f" {unit}", file=sys.stderr, disable=None, leave=False, dynamic_ncols=True)
