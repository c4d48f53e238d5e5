"""``medclipsam project disputes``."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from napari_medclipsam.cli import DONE
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.settling import Dispute, project_disputes
from napari_medclipsam.wording import counted


def run(args: Namespace) -> int:
    """Print the slices on which two readers differ."""
    with Project.open(args.project, args.reader) as project:
        if args.case is not None:
            project.study(args.case)
        found = dict(project_disputes(project, args.case))
        names = {c.label: c.name for c in project.classes}
    if args.case is not None and args.case not in found:
        raise ProjectError(f"The case {args.case} has no second reading yet.")
    if args.json:
        rows = [_row(case, dispute, names) for case, disputes in found.items() for dispute in disputes]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return DONE
    n_left = sum(map(len, found.values()))
    twice, differ = counted(len(found), "case was", "cases were"), counted(n_left, "slice differs", "slices differ")
    print(f"{twice} read twice; {differ}, not settled yet.")
    for case, disputes in found.items():
        for dispute in disputes:
            row = _row(case, dispute, names)
            told = ", ".join(f"{name} {dice:.2f}" for name, dice in row["dice"].items())
            print(f"{case} slice {dispute.at.index}: Dice {told}")
    return DONE


def _row(case: str, dispute: Dispute, names: dict[int, str]) -> dict[str, Any]:
    return {
        "case": case,
        "at": list(dispute.at.position),
        "slice": dispute.at.index,
        "dice": {names.get(label, str(label)): dice for label, dice in dispute.dice.items()},
    }
