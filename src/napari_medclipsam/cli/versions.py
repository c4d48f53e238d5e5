"""``medclipsam versions list | show | promote | rollback | compare | delete``."""

from __future__ import annotations

import getpass
import json
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from napari_medclipsam.cli import DONE, REFUSED
from napari_medclipsam.cli.progress import progress_bar
from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.clip_home import CLIP, find_home, require_register
from napari_medclipsam.learning.gate import DICE
from napari_medclipsam.learning.versions import (
    Version,
    active_version,
    delete,
    find_version,
    list_versions,
    promote,
    roll_back,
)
from napari_medclipsam.learning.wording import doubt_words
from napari_medclipsam.models.entry import readable_size
from napari_medclipsam.wording import counted


def run(args: Namespace) -> int:
    """Run one of the actions."""
    actions: dict[str, Callable[[Namespace], int]] = {
        "list": _list,
        "show": _show,
        "promote": _promote,
        "rollback": _roll_back,
        "compare": _compare,
        "delete": _delete,
    }
    require_register(args.project)
    return actions[args.action](args)


def _list(args: Namespace) -> int:
    versions = list_versions(args.project)
    if args.json:
        print(json.dumps([_row(v) for v in versions], ensure_ascii=False, indent=2))
        return DONE
    if not versions:
        is_clip = find_home(args.project) == args.project
        start = "medclipsam learn clip PAIRS" if is_clip else f"medclipsam learn {args.project} --learner instant"
        print(f"Nothing was learnt here yet. Start with: {start}")
        return DONE
    things, figure = ("PAIRS", "RECALL") if find_home(args.project) == args.project else ("SLICES", "DICE")
    rows = [["VERSION", "STATE", "LEARNER", things, figure, "GAIN (AT LEAST)", "SIZE", "MADE"]]
    rows += [_cells(v) for v in versions]
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if len(versions) > 1 and figure == "DICE":
        # By text, by clicks or both, on what was held out then, against what was in use then.
        print("\nDICE and GAIN are each version's own measurement; to tell two apart: medclipsam versions compare.")
    used = sum(v.size_bytes for v in versions)
    active = active_version(args.project)
    print(
        f"\nIn use: {'the model that all began with' if active is None else active.name}. "
        f"{counted(len(versions), 'version')}, {readable_size(used)} on disk."
    )
    return DONE


def _cells(v: Version) -> list[str]:
    if not v.lineage:
        return [v.name, v.state, "-", "-", "-", "-", readable_size(v.size_bytes), "-"]
    gate, data = v.lineage["gate"], v.lineage["data"]
    total = gate["total"]
    lower = "" if gate["lower"] is None else f" ({gate['lower']:+.3f})"
    figures = ["-", "-"] if total is None else [f"{total['after']:.3f}", f"{total['gain']:+.3f}{lower}"]
    size, made = readable_size(v.size_bytes), v.lineage["created"][:16].replace("T", " ")
    return [v.name, v.state, v.learner, str(data["n_examples"]), *figures, size, made]


def _row(v: Version) -> dict[str, Any]:
    return {"version": v.name, "state": v.state, "size_bytes": v.size_bytes, "trouble": v.trouble, **v.lineage}


def _show(args: Namespace) -> int:
    v = find_version(args.project, args.version)
    v.check()
    if args.json:
        print(json.dumps(_row(v), ensure_ascii=False, indent=2))
        return DONE
    lineage = v.lineage
    gate, settings = lineage["gate"], lineage["settings"]
    base = " ".join(part for part in (lineage["base"]["name"], lineage["base"]["version"][:12]) if part)
    print(f"{v.name}, {v.state}: learner {v.learner} on {base}, made {lineage['created']} ({lineage['trigger']})")
    print(f"{gate['message']}")
    print(_learnt_from(v))
    print(f"Began from {lineage['parent'] or 'the model itself'}; compared with {lineage['compared_with'] or 'it'}.")
    things = "pairs" if v.learner == CLIP else "slices"
    for name, s in {**(gate["structures"] or {}), **{f"by {w}": s for w, s in (gate["ways"] or {}).items()}}.items():
        figure = "" if name == "by saliency IoU" else gate.get("figure", DICE.figure) + " "
        print(f"  {name}: {figure}{s['before']:.3f} → {s['after']:.3f} on {s['n_slices']} {things}")
    packages = ", ".join(f"{name} {number}" for name, number in lineage["environment"]["packages"].items())
    print(f"Seed {settings['seed']}, {lineage['environment']['device']}, {packages}")
    print(f"{counted(len(lineage['files']), 'file')}, {readable_size(v.size_bytes)}, checked; in {v.folder}")
    return DONE


def _learnt_from(v: Version) -> str:
    data, settings = v.lineage["data"], v.lineage["settings"]
    patients = f"of {counted(len(data['patients']), 'patient')}"
    held_out = f"held out: {counted(len(data['held_out']), 'patient')}."
    if v.learner == CLIP:
        how = settings["training"]
        return (
            f"Learnt from {counted(data['n_examples'], 'image-caption pair')} {patients}; loss {how['loss']}, "
            f"{how['way']}, rate {how['rate']:g}, batches of {v.lineage['fit']['model']['said']['batch']};\n{held_out}"
        )
    classes = ", ".join(data["classes"])
    # Versions made before do not say it.
    cases = f" in {counted(len(data['cases']), 'case')}" if "cases" in data else ""
    return f"Learnt from {counted(data['n_examples'], 'slice')} {patients}{cases};\nclasses {classes}; {held_out}"


def _promote(args: Namespace) -> int:
    v = promote(args.project, args.version, getpass.getuser())
    if doubt := doubt_words(v):
        print(f"medclipsam: {doubt}", file=sys.stderr)
    print(f"{v.name} is in use from now on. The way back: medclipsam versions rollback {args.project}")
    return DONE


def _roll_back(args: Namespace) -> int:
    v = roll_back(args.project, getpass.getuser())
    print("The model that all began with is in use again." if v is None else f"{v.name} is in use again.")
    return DONE


def _delete(args: Namespace) -> int:
    freed = delete(args.project, args.version)
    print(f"{args.version} is deleted; {readable_size(freed)} freed.")
    return DONE


def _compare(args: Namespace) -> int:
    from napari_medclipsam.learning.comparing import compare

    with progress_bar(0, "slices") as bar:

        def step(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        verdict = compare(args.project, args.first, args.second, args.device, step)
    if args.json:
        print(json.dumps(verdict.to_json(), ensure_ascii=False, indent=2))
        return DONE if verdict.total is not None else REFUSED
    if verdict.total is None or verdict.structures is None or verdict.ways is None:
        raise LearningError(verdict.message)
    print(f"Dice of {args.first} → {args.second}, on accepted slices, each by fits that have not seen its patient:")
    rows = {"all": verdict.total, **verdict.structures, **{f"by {way}": s for way, s in verdict.ways.items()}}
    for name, s in rows.items():
        seen = f"{counted(s.n_slices, 'slice')} of {counted(s.n_patients, 'patient')}"
        print(f"  {name}: {s.before:.3f} → {s.after:.3f} ({s.gain:+.3f}), {seen}")
    if verdict.lower is not None:
        print(f"95 % sure of a gain of more than {verdict.lower:+.3f}, and of less than {verdict.upper:+.3f}.")
    return DONE
