"""``medclipsam models list | fetch | bundle | import``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable

from tqdm import tqdm

from napari_medclipsam.errors import ModelError
from napari_medclipsam.models import store
from napari_medclipsam.models.bundle import bundle, import_bundle
from napari_medclipsam.models.download import fetch
from napari_medclipsam.models.entry import ModelEntry, readable_size
from napari_medclipsam.models.registry import find_entry, list_models


def run(args: Namespace) -> int:
    """Run one of the four actions."""
    actions: dict[str, Callable[[Namespace], None]] = {
        "list": _list,
        "fetch": _fetch,
        "bundle": _bundle,
        "import": _import,
    }
    actions[args.action](args)
    return 0


def _list(args: Namespace) -> None:
    entries = list_models()
    if args.json:
        print(json.dumps([_as_dict(e) for e in entries], ensure_ascii=False, indent=2))
        return
    rows = [("NAME", "STATE", "SIZE", "LICENCE", "DOES", "WHAT")]
    for e in entries:
        size = readable_size(e.size_bytes) if e.size_bytes else "-"
        rows.append((e.name, str(store.state_of(e)), size, e.licence, ", ".join(e.roles), e.title))
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\nModels that are not installed: medclipsam models fetch NAME. They go to {store.models_folder()}.")


def _as_dict(entry: ModelEntry) -> dict[str, object]:
    return {
        "name": entry.name,
        "state": str(store.state_of(entry)),
        "title": entry.title,
        "roles": list(entry.roles),
        "size_bytes": entry.size_bytes,
        "licence": entry.licence,
        "source": entry.source,
        "revision": entry.revision,
        "notes": entry.notes,
        "files": {f.name: store.expected_sha256(entry, f) for f in entry.files},
    }


def _fetch(args: Namespace) -> None:
    entry = find_entry(args.name)
    hashes = dict(_name_and_hash(text) for text in args.sha256)
    if store.state_of(entry) == store.ModelState.BUNDLED:
        print(f"{entry.name} ships with this installation; there is nothing to fetch.")
        return
    print(f"{entry.title}: {readable_size(entry.size_bytes)} from {entry.source}, licence {entry.licence}.")
    with tqdm(unit="B", unit_scale=True, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True) as bar:

        def show(name: str, done: int, total: int | None) -> None:
            bar.set_description(name)
            bar.total = total
            bar.update(done - bar.n)

        folder = fetch(args.name, progress=show, sha256=hashes)
    print(f"{entry.name} is installed and checked in {folder}.")


def _name_and_hash(text: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals:
        raise ModelError(f"--sha256 takes FILE=HASH; got {text!r}.")
    return name, value


def _bundle(args: Namespace) -> None:
    manifest = bundle(args.names, args.output, progress=_say)
    print(f"The bundle is in {manifest.parent}. On the other machine run: medclipsam models import FOLDER")


def _import(args: Namespace) -> None:
    names = import_bundle(args.folder, progress=_say)
    print(f"Installed and checked: {', '.join(names)}.")


def _say(name: str) -> None:
    print(f"copying {name}", file=sys.stderr)
