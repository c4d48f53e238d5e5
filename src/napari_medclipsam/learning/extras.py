"""Libraries that only some learners need."""

from __future__ import annotations

from importlib.util import find_spec

from napari_medclipsam.errors import LearningError


def require_packages(learner: str, *modules: str) -> None:
    """Raise `LearningError` with what to install where a module is missing; nothing is imported."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        named = " and ".join(name.replace("_", "-") for name in missing)
        raise LearningError(
            f'The learner {learner} needs {named}, missing here; run: pip install "napari-medclipsam[learn]"'
        )
