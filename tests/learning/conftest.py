"""Projects with accepted slices, and a learner of a plug-in that fits them in milliseconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from projects_to_learn import PLUGIN, project_of

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def plugin(monkeypatch):
    """The plug-in, in the worker's process as in this one; other tests see nothing of it."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join((str(PLUGIN), str(PLUGIN.parent), str(TESTS), os.environ.get("PYTHONPATH", "")))
    )


@pytest.fixture
def folder(tmp_path):
    """A project of four patients, of whom three slices each are accepted; closed."""
    return project_of(tmp_path / "project", n_patients=4)
