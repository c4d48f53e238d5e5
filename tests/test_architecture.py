"""The shape that ARCHITECTURE promises: imports go one way, and the bare package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import napari_medclipsam

ROOT = Path(napari_medclipsam.__file__).parent

# Each may import itself and those before it.
ORDER = (
    "errors",
    "files",
    "wording",
    "images",
    "reading_view",
    "models",
    "saliency",
    "prompting",
    "results",
    "pipeline",
    "samples",
    "public_samples",
    "evaluation",
    "asking",
    "annotation",
    "exchange",
    "projects",
    "search",
    "learning",
)
TOP = ("cli", "widgets", "napari_io")
# The registry names a model's loader as text, so it needs no import of what it loads.


def imported(path: Path) -> set[str]:
    """Parts of this package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "napari_medclipsam" and len(parts) > 1:
                found.add(parts[1])
    return found & set(ORDER + TOP)


@pytest.mark.parametrize("part", ORDER)
def test_imports_go_one_way(part: str) -> None:
    files = sorted((ROOT / part).rglob("*.py")) if (ROOT / part).is_dir() else [ROOT / f"{part}.py"]
    assert files and files[0].exists()
    allowed = set(ORDER[: ORDER.index(part) + 1])
    wrong = {str(f.relative_to(ROOT)): imported(f) - allowed for f in files if imported(f) - allowed}
    assert not wrong


def loaded_by(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint('\\n'.join(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import napari_medclipsam",
        "import napari_medclipsam.images, napari_medclipsam.models, napari_medclipsam.models.registry",
        "import napari_medclipsam.cli",
        "import napari_medclipsam.projects.project, napari_medclipsam.projects.verify",
        "import napari_medclipsam.search.work, napari_medclipsam.search.queries",
    ],
)
def test_light_imports(statement: str) -> None:
    assert not loaded_by(statement) & {"torch", "qtpy", "PyQt6", "PySide6", "napari", "openvino", "transformers"}


def test_the_core_needs_no_window() -> None:
    loaded = loaded_by("import napari_medclipsam.pipeline, napari_medclipsam.models.lite.model")
    assert not loaded & {"qtpy", "PyQt6", "PySide6", "napari"}
