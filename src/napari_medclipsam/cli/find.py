"""``medclipsam find``."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any, TextIO

from napari_medclipsam.cli import DONE, REFUSED
from napari_medclipsam.cli.progress import progress_bar
from napari_medclipsam.errors import ProjectError
from napari_medclipsam.models.contracts import RegionEncoder
from napari_medclipsam.projects.project import Project
from napari_medclipsam.search.finding import Answer, Found, checked_phrase, find_like, find_text
from napari_medclipsam.search.index import Coverage, Index, Scope
from napari_medclipsam.search.store import Store
from napari_medclipsam.wording import counted


def run(args: Namespace) -> int:
    """Index if that was asked for, and print the slices that fit."""
    if args.text is None and args.like is None and not args.build:
        raise ProjectError("Say what to look for: --text TEXT or --like CASE:SLICE:CLASS; or make the index: --build.")
    if args.other_cases and args.like is None:
        raise ProjectError("--other-cases leaves out the case of a region; add --like CASE:SLICE:CLASS.")
    if args.text is not None:
        checked_phrase(args.text)
    with Project.open(args.project, args.reader) as project:
        # Before the models: what fits nothing must not cost the user an hour.
        if not args.build and not Store(args.project).stamps():
            raise ProjectError("Nothing of the project is indexed yet. Add --build.")
        for case in (args.case, args.like and args.like[0]):
            if case is not None:
                project.study(case)
        like = _region(project, args.like) if args.like is not None else None
        from napari_medclipsam.search.building import index_version

        encoder, store = _encoder(args), Store(args.project)
        n_failed = _build(project, store, encoder, sys.stderr if args.json else sys.stdout) if args.build else 0
        index = Index(project, store, index_version(encoder))
        index.refresh()
        if args.text is None and like is None:
            _print_built(index.coverage, args.json)
            return REFUSED if n_failed else DONE
        if not index.n_vectors:
            raise ProjectError(f"{index.coverage.words} Add --build.")
        if like is None:
            scope = Scope(args.case, accepted=args.accepted)
            found = find_text(index, encoder, args.text, scope, args.top)
        else:
            at, pixels, mask_yx = like
            own = args.like[0]
            scope = Scope(args.case, own if args.other_cases else None, (own, at), args.accepted)
            found = find_like(index, encoder, pixels, mask_yx, scope, args.top)
        _print(project, found, args.json)
    return REFUSED if n_failed else DONE


def _region(project: Project, like: tuple[str, int, str]) -> Any:
    from napari_medclipsam.search.queries import accepted_region

    return accepted_region(project, *like)


def _encoder(args: Namespace) -> RegionEncoder:
    from napari_medclipsam.models.registry import load
    from napari_medclipsam.search.building import require_encoder

    return require_encoder(load(args.model, args.device))


def _build(project: Project, store: Store, encoder: RegionEncoder, told: TextIO) -> int:
    """Index what is out of date, say how much that was, and return how many cases could not be."""
    from napari_medclipsam.search.building import WAS_OTHER, build, index_version, n_to_look_at

    n_failed, n_new, said_other = 0, 0, False
    with progress_bar(n_to_look_at(project, store, index_version(encoder)), "slices") as bar:
        for done in build(project, store, encoder, progress=bar.update):
            if done.was_other and not said_other:
                said_other = True
                bar.write(f"medclipsam: {WAS_OTHER} It is made anew.", file=sys.stderr)
            n_new += done.n_new
            if done.trouble:
                n_failed += 1
                bar.write(f"medclipsam: {done.case}: {done.trouble}", file=sys.stderr)
    print(f"Indexed {counted(n_new, 'slice')} now.", file=told, flush=True)
    return n_failed


def _print_built(coverage: Coverage, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_coverage(coverage)))
    else:
        print(coverage.words)


def _coverage(coverage: Coverage) -> dict[str, int]:
    return {"indexed": coverage.n_indexed, "slices": coverage.n_slices}


def _print(project: Project, found: Found, as_json: bool) -> None:
    if as_json:
        value = {
            **_coverage(found.coverage),
            "known": found.is_known,
            "found": found.n_claimed,
            "message": found.message,
            "answers": [_value(project, answer) for answer in found.answers],
        }
        print(json.dumps(value, ensure_ascii=False, indent=2))
        return
    for answer in found.answers:
        print(f"{answer.score:.2f}  {answer.case} slice {answer.at.index}: {answer.words}; {_what(project, answer)}")
    print(found.message)


def _what(project: Project, answer: Answer) -> str:
    kind = answer.kind.name.lower()
    if kind == "slice":
        return "the slice as a whole"
    x0, y0, x1, y1 = answer.box_xyxy
    place = f"x {x0}–{x1}, y {y0}–{y1}"
    if answer.label in project.classes:
        return f"accepted {project.classes[answer.label].name} at {place}"
    return f"at {place}"


def _value(project: Project, answer: Answer) -> dict[str, Any]:
    return {
        "case": answer.case,
        "at": list(answer.at.position),
        "slice": answer.at.index,
        "score": round(answer.score, 3),
        "words": answer.words,
        "kind": answer.kind.name.lower(),
        "class": project.classes[answer.label].name if answer.label in project.classes else "",
        "box_xyxy": list(answer.box_xyxy),
    }
