"""Loading the models' libraries into a process that draws with OpenGL."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_medclipsam.learning.loading import project_pair
from napari_medclipsam.saliency.pair import load_pair


def load_beside_opengl(
    name: str, device: str | None = None, *, saliency_method: str | None = None, project: Path | None = None
) -> tuple[Any, Any]:
    """Load models as `saliency.pair.load_pair`, in a process that may have Mesa's OpenGL in it.

    With a project they are loaded in the version that it has in use.
    """
    # napari's points need it; loaded here, in the thread of the models, it does not hold up the first click.
    importlib.import_module("pandas")
    _load_triton_apart()
    if project is None:
        return load_pair(name, device, saliency_method)
    return project_pair(project, name, device, saliency_method)[0]


def _load_triton_apart() -> None:
    """Load triton, which torch imports, bound to its own copy of LLVM.

    Mesa's OpenGL brings another LLVM. Where that is loaded first, as in a window, triton takes its functions for its
    own and the whole process dies with a segmentation fault.
    """
    deep = getattr(os, "RTLD_DEEPBIND", None)
    if deep is None or "triton" in sys.modules or importlib.util.find_spec("triton") is None:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | deep)
    try:
        with suppress(ImportError):
            importlib.import_module("triton._C.libtriton")
    finally:
        sys.setdlopenflags(flags)
