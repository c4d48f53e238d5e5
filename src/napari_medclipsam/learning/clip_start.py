"""What is seen to before fine-tuning starts, so that what is wrong is known before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari_medclipsam.errors import ModelError
from napari_medclipsam.learning.captions import TABLE, read_captions
from napari_medclipsam.learning.clip_home import CLIP, open_home
from napari_medclipsam.learning.clip_request import ClipRequest, not_tunable
from napari_medclipsam.learning.contracts import Settings
from napari_medclipsam.learning.status import Status
from napari_medclipsam.learning.worker import Worker
from napari_medclipsam.models.registry import LOCAL_DIR, OPEN_CLIP_PREFIXES, find_entry
from napari_medclipsam.models.store import ModelState, not_installed, state_of


def made_ready(home: Path, pairs: Path, model: str) -> tuple[str, ...]:
    """Make the home of what is learnt from pairs; returns a sentence about each kind of pair that is left out.

    Parameters
    ----------
    home : pathlib.Path
        Its folder, see `clip_home`.
    pairs : pathlib.Path
        As for `captions.read_captions`.
    model : str
        The encoder to begin with.

    Raises
    ------
    LearningError
        If there is nothing to learn from, the model is no encoder, or the home holds something else.
    ModelError
        If the encoder is not installed, or its folder is not there.
    OutputError
        If the home can't be written.
    """
    notes = read_captions(pairs, "").notes
    _require_tunable(model)
    open_home(home, pairs)
    return notes


def _require_tunable(model: str) -> None:
    """Refuse what can be told from its name to be no encoder, or not to be there."""
    if not model.startswith(OPEN_CLIP_PREFIXES):
        entry = find_entry(model)
        if entry.kind in ("lite", "sam"):
            raise not_tunable(model)
        if state_of(entry) is ModelState.NOT_INSTALLED:
            raise not_installed(entry)
    folder = Path(model.removeprefix(LOCAL_DIR)).expanduser()
    if model.startswith(LOCAL_DIR) and not folder.is_dir():
        raise ModelError(f"There is no folder {folder}. Name one that open_clip saved: {LOCAL_DIR}/folder")


def tuning(
    project: Path, table: Path, settings: Settings, trigger: str, told: Callable[[Status], None]
) -> tuple[Worker, tuple[str, ...]]:
    """Start to fine-tune an encoder for a project, beside what it has in use for texts and clicks.

    Parameters
    ----------
    project : pathlib.Path
        Its folder.
    table : pathlib.Path
        Of images and captions; that of the project itself names cases.
    settings, trigger
        As for `run.Request`.
    told : callable
        As for `Worker`.

    Returns
    -------
    tuple
        The worker, and what `made_ready` returns. Raises what that raises, and what `Worker.start` does.
    """
    home = project / CLIP
    notes = made_ready(home, project if table == project / TABLE else table, settings.base)
    worker = Worker(home, told)
    worker.start(ClipRequest(settings=settings, trigger=trigger))
    return worker, notes
