"""Where a class of a project is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medclipsam.wording import counted

if TYPE_CHECKING:
    from napari_medclipsam.projects.project import Project

_MOST_NAMED = 5


def use_of(project: Project, label: int) -> str:
    """Say how many cases have masks, prompts or proposals of a class, second readings too; "" where none has."""
    cases = [case for case in project.studies if label in project.summary(case, review=False).labels]
    twice = [case for case in project.studies if project.has_second(case)]
    second = [case for case in twice if label in project.summary(case, second=True, review=False).labels]
    parts = [_told(cases, "case"), _told(second, "second reading")]
    return " and ".join(part for part in parts if part)


def _told(cases: list[str], what: str) -> str:
    if not cases:
        return ""
    shown = ", ".join(cases[:_MOST_NAMED]) + (", …" if len(cases) > _MOST_NAMED else "")
    return f"{counted(len(cases), what)} ({shown})"
