"""What users install is a wheel: built and installed here, it has all that it needs, and works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CHECK = """
import json, sys
from importlib import resources
import napari_medclipsam
from npe2 import PluginManager

manager = PluginManager()
manager.discover()
manifest = manager.get_manifest("napari-medclipsam")
manifest.validate_imports()
print(json.dumps({
    "package": napari_medclipsam.__file__,
    "files": [str(p) for p in resources.files("napari_medclipsam").rglob("*") if p.is_file() and p.suffix != ".pyc"],
    "commands": [command.id for command in manifest.contributions.commands],
}))
"""


def run(*call: str | Path, **variables: str) -> str:
    done = subprocess.run([str(part) for part in call], env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the package as pip installs it from its wheel."""
    # A copy, so that nothing of an earlier build gets in, and nothing of this one stays.
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    wheels, site = source / "wheels", source / "site"
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", wheels, source)
    (wheel,) = wheels.glob("*.whl")
    run(*pip, "install", "--no-deps", "--no-index", "--target", site, wheel)
    return site


def test_the_manifest_and_all_data_are_in_the_wheel(site) -> None:
    found = json.loads(run(sys.executable, "-c", CHECK, PYTHONPATH=str(site)))
    package = Path(found["package"]).parent
    assert package == site / "napari_medclipsam"
    assert "napari-medclipsam.open_dock" in found["commands"]
    tree = ROOT / "src" / "napari_medclipsam"
    expected = {p.relative_to(tree) for p in tree.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {Path(p).relative_to(package) for p in found["files"]} == expected


def test_the_command_line_works_from_the_wheel(site, own_cache, tmp_path) -> None:
    medclipsam = site / "bin" / "medclipsam"
    folders = {"PYTHONPATH": str(site), "MEDCLIPSAM_MODELS": str(tmp_path)}
    assert "segment" in run(medclipsam, "--help", **folders)
    assert run(medclipsam, "doctor", **folders)
