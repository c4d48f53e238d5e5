"""Where a version comes from: which records of which journals, and on what machine."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from napari_medclipsam.projects.documents import Document, read_document
from napari_medclipsam.projects.journal import read_journal
from napari_medclipsam.projects.project import STUDIES_FORMAT

_PACKAGES = (
    "napari-medclipsam",
    "numpy",
    "open_clip_torch",
    "peft",
    "monai",
    "openvino",
    "safetensors",
    "scikit-learn",
    "torch",
)


def journal_ranges(project: Path) -> Document:
    """Return how far the journal of each case goes: its last record, whose check stands for all before it.

    Raises
    ------
    ProjectError
        If a journal can't be read.
    """
    ranges = {}
    for study in read_document(project / "studies.json", STUDIES_FORMAT)["studies"]:
        contents = read_journal(project / "cases" / study["case"] / "journal.jsonl")
        if contents.last_n:
            ranges[study["case"]] = {"records": [1, contents.last_n], "check": contents.last_check}
    return ranges


def environment(device: str) -> Document:
    """Return versions of what a fit depends on, and its device."""
    packages = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages,
        "device": _device_name(device),
    }


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return device
