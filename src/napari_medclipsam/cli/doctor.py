"""``medclipsam doctor``: what works here, and what to do about what does not."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np

from napari_medclipsam import __version__
from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.models import store
from napari_medclipsam.models.entry import ModelEntry, readable_size
from napari_medclipsam.models.registry import list_models
from napari_medclipsam.wording import counted

State = Literal["ok", "note", "problem"]

_PACKAGES = (
    "napari",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-image",
    "nibabel",
    "pydicom",
    "highdicom",
    "nilearn",
)
_OPTIONAL = ("open-clip-torch", "segment-anything", "PyQt6", "PySide6")
_MIN_MEMORY_BYTES = 3 * 10**9  # a 256-slice volume run stays below 2.5 GB
_MIN_DISK_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Check:
    """One finding: a name, its state, what was found, and what to do about it ("" when nothing)."""

    name: str
    state: State
    found: str
    remedy: str = ""


def run(args: Namespace) -> int:
    """Print every check; the exit code is 2 when there is a problem."""
    checks: list[Check] = []
    for examine in (_versions, _device(args.device), _memory, _disk, _models, _self_test(args.device)):
        try:
            checks += examine()
        except MedclipsamError as error:
            checks.append(Check(examine.__name__.strip("_"), "problem", str(error), "See the message."))
    if args.json:
        print(json.dumps([asdict(c) for c in checks], ensure_ascii=False, indent=2))
    else:
        print("\n".join(_line(c) for c in checks))
    n_problems = sum(c.state == "problem" for c in checks)
    print(f"medclipsam doctor: {counted(n_problems, 'problem')} found.", file=sys.stderr)
    return 2 if n_problems else 0


def _line(check: Check) -> str:
    mark = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}[check.state]
    return f"{mark}  {check.name}: {check.found}" + (f"\n         → {check.remedy}" if check.remedy else "")


def _versions() -> list[Check]:
    checks = [Check("medclipsam", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")]
    found, missing = [], []
    for name in (*_PACKAGES, *_OPTIONAL):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    checks.append(Check("packages", "ok", ", ".join(found)))
    needed = [n for n in missing if n in _PACKAGES]
    if needed:
        checks.append(
            Check("packages", "problem", f"missing: {', '.join(needed)}", "pip install --upgrade napari-medclipsam")
        )
    if {"PyQt6", "PySide6"} <= set(missing):
        checks.append(
            Check(
                "window", "note", "no Qt binding, so napari can't open a window", "pip install 'napari-medclipsam[all]'"
            )
        )
    return checks


def _device(requested: str | None) -> Callable[[], list[Check]]:
    def device() -> list[Check]:
        from napari_medclipsam.models.device import available_devices, choose_device, dtype_for

        try:
            chosen = choose_device(requested)
        except ImportError as error:
            return [
                Check(
                    "device",
                    "problem",
                    f"torch can't be loaded: {error}",
                    "pip install --force-reinstall torch torchvision",
                )
            ]
        return [Check("device", "ok", f"{chosen} with {dtype_for(chosen)}; there is {', '.join(available_devices())}")]

    return device


def _memory() -> list[Check]:
    import psutil

    free = psutil.virtual_memory().available
    if free < _MIN_MEMORY_BYTES:
        return [
            Check(
                "memory", "problem", f"{readable_size(free)} free", "Close other programs; 3 GB are needed for volumes."
            )
        ]
    return [Check("memory", "ok", f"{readable_size(free)} free")]


def _disk() -> list[Check]:
    checks = []
    for name, folder in (("disk, current folder", Path.cwd()), ("disk, model folder", store.models_folder())):
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(existing).free
        state: State = "ok" if free >= _MIN_DISK_BYTES else "note"
        remedy = (
            "" if state == "ok" else f"Free some space; 2 GB are comfortable. {store.FOLDER_VARIABLE} moves the models."
        )
        checks.append(Check(name, state, f"{readable_size(free)} free in {folder}", remedy))
    return checks


def _models() -> list[Check]:
    return [_model(entry) for entry in list_models()]


def _model(entry: ModelEntry) -> Check:
    name = f"model {entry.name}"
    about = f"licence {entry.licence}, {entry.source}"
    if store.state_of(entry) == store.ModelState.NOT_INSTALLED:
        if entry.bundled:
            return Check(name, "problem", "its files are missing", str(store.not_installed(entry)))
        size = readable_size(entry.size_bytes)
        return Check(
            name, "note", f"not installed ({size}, {about})", f"If you want it: medclipsam models fetch {entry.name}"
        )
    try:
        paths = store.verified_paths(entry)
    except MedclipsamError as error:
        return Check(name, "problem", f"its files are not the expected ones; {about}", str(error))
    hashes = ", ".join(f"{Path(n).name} sha256 {store.file_sha256(p)[:12]}" for n, p in paths.items())
    return Check(name, "ok", f"{about}; {hashes}")


def _self_test(requested: str | None) -> Callable[[], list[Check]]:
    def self_test() -> list[Check]:
        from napari_medclipsam.models.contracts import PromptSet
        from napari_medclipsam.saliency.pair import load_pair

        image, truth_yx, box_xyxy = generated_image()
        try:
            start = time.perf_counter()
            grounder, segmenter = load_pair("lite", requested)
            loaded = time.perf_counter()
            embedding = segmenter.embed(image)
            mask_yx = segmenter.masks(embedding, PromptSet(box_xyxy=box_xyxy)).mask_yx
            saliency = grounder.saliency(image, "brain tumor")
        # Whatever a broken installation raises is a finding, not a crash of the doctor.
        except Exception as error:
            return [
                Check(
                    "self-test",
                    "problem",
                    f"{type(error).__name__}: {error}",
                    "pip install --force-reinstall napari-medclipsam",
                )
            ]
        seconds = f"loaded in {loaded - start:.1f} s, answered in {time.perf_counter() - loaded:.1f} s"
        overlap = 2 * (mask_yx & truth_yx).sum() / max(1, mask_yx.sum() + truth_yx.sum())
        sound = overlap > 0.7 and saliency.known and bool(np.isfinite(saliency.values_yx).all())
        if not sound:
            remedy = "pip install --force-reinstall napari-medclipsam; try --device cpu; then report this."
            return [Check("self-test", "problem", f"wrong answer on a generated image (Dice {overlap:.2f})", remedy)]
        return [Check("self-test", "ok", f"a box on a generated image gave Dice {overlap:.2f}; {seconds}")]

    return self_test


def generated_image():  # type: ignore[no-untyped-def]
    """Return a picture of a bright disk on noise, its mask (bool) and its box (x_min, y_min, x_max, y_max)."""
    from napari_medclipsam.images.slice import Slice

    y, x = np.mgrid[:192, :192]
    disk = np.hypot(y - 80, x - 110) <= 30
    noise = np.random.default_rng(0).normal(0, 8, disk.shape)
    pixels = np.clip(np.where(disk, 190, 60) + noise, 0, 255).astype(np.uint8)
    return Slice(pixels), disk, (80.0, 50.0, 140.0, 110.0)
