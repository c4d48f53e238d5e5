"""The image encoder in OpenVINO's form, kept on disk: making it anew takes half of the time the model needs to load."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medclipsam.errors import OutputError
from napari_medclipsam.files import atomic_path

if TYPE_CHECKING:
    import openvino

_MAGIC = b"medclipsam-openvino-1\n"
_DIGEST_BYTES = 32
_LENGTH_BYTES = 8


def kept_model(folder: Path, key: str, convert: Callable[[], openvino.Model]) -> openvino.Model:
    """Return the model kept under `key`, or convert it and keep it.

    A file is used only if it is whole: its content is hashed before it is read. Where nothing can be written, the
    model is converted each time.

    Parameters
    ----------
    folder : pathlib.Path
        Of the user's cache.
    key : str
        Names the weights; the version of OpenVINO is added to it.
    convert : callable
        Makes the model.
    """
    import openvino

    name = hashlib.sha256(f"{key}\0{openvino.get_version()}".encode()).hexdigest()
    path = folder / f"{name}.ov"
    with suppress(OSError):
        parts = _unpacked(path.read_bytes())
        if parts is not None:
            return openvino.Core().read_model(*parts)
    model = convert()
    with suppress(OSError, OutputError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_path(path) as temporary:
            temporary.write_bytes(_packed(model))
    return model


def _packed(model: openvino.Model) -> bytes:
    import openvino

    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "model.xml"
        openvino.save_model(model, graph, compress_to_fp16=False)
        xml, weights = graph.read_bytes(), graph.with_suffix(".bin").read_bytes()
    content = len(xml).to_bytes(_LENGTH_BYTES, "little") + xml + weights
    return _MAGIC + hashlib.sha256(content).digest() + content


def _unpacked(stored: bytes) -> tuple[bytes, bytes] | None:
    """Return (graph, weights), or None if the file is damaged."""
    head = len(_MAGIC) + _DIGEST_BYTES
    content = stored[head:]
    if not stored.startswith(_MAGIC) or hashlib.sha256(content).digest() != stored[len(_MAGIC) : head]:
        return None
    middle = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    return content[_LENGTH_BYTES:middle], content[middle:]
