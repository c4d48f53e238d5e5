"""Effort figures: work with a known cost, on a clock that is turned by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.annotation.prompts import Prompts
from napari_medclipsam.evaluation.metrics import dice, normalized_surface_dice
from napari_medclipsam.projects.effort import case_effort
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.report import Report, efforts, report_of, write_tables
from napari_medclipsam.projects.scan import scan
from napari_medclipsam.projects.stopping import stop_curve
from synthetic import Both, picture

MODEL = Both()
DISK = ObjectKey(1)


def at(index: int) -> SliceAt:
    return SliceAt.across(0, index)


@pytest.fixture
def clock(monkeypatch):
    """What time it is for records; `clock(5)` lets five seconds pass."""
    now = datetime(2026, 11, 22, 8, tzinfo=UTC)

    def turn(seconds: float) -> None:
        nonlocal now
        now += timedelta(seconds=seconds)

    told = lambda: now.isoformat(timespec="milliseconds").replace("+00:00", "Z")  # noqa: E731
    monkeypatch.setattr("napari_medclipsam.projects.case.utc_now", told)
    return turn


@pytest.fixture
def worked(folder, clock):
    """One case: a slice accepted as proposed, one corrected by a click and a stroke, one that the text missed."""
    with Project.open(folder, "ana") as project:
        with project.open_case("c0001") as case:
            session = case.session
            clock(10)
            session.apply(session.plan_text(at(0), "disk").run(MODEL, MODEL))
            clock(20)
            session.accept(at(0))
            clock(5)
            case.looked_at(at(1))
            clock(300)
            session.apply(session.plan_text(at(1), "disk").run(MODEL, MODEL))
            clock(7)
            for x in (18.0, 19.0, 20.0):
                session.set_prompts(at(1), Prompts().with_point(x, 18.0, True), DISK, drag=x < 20)
            session.apply(session.plan_mask(at(1), DISK).run(MODEL, MODEL))
            clock(8)
            session.paint((slice(1, 2), slice(10, 14), slice(40, 48)), np.ones((1, 4, 8), np.uint8))
            clock(6)
            session.accept(at(1))
        yield project


def test_seconds_clicks_and_strokes_of_each_slice(worked):
    report = report_of(efforts(worked))
    first, second = sorted(report.slices, key=lambda row: row.at[0])
    # From the opening; looking at slice 0 until the look at slice 1. The pause of 300 s is none of it.
    assert (first.active_s, first.clicks, first.strokes, first.corrections) == (35, 0, 0, 0)
    assert (second.active_s, second.clicks, second.strokes, second.corrections) == (21, 1, 1, 2)
    assert first.accepted == "2026-11-22T08:00:30.000Z" and first.reader == "ana"
    total = report.total
    assert (total.n_slices, total.active_s, total.corrections) == (2, 56, 2)
    assert worked.summary("c0001").history.active_s == {"ana": 56}


def test_proposals_are_compared_with_what_was_accepted(worked):
    unchanged, corrected = report_of(efforts(worked)).proposals
    assert (unchanged.dice, unchanged.nsd, unchanged.unchanged) == (1, 1, True)
    disk = picture("disk")[1]["disk"]
    accepted = disk.copy()
    accepted[10:14, 40:48] = True
    assert not corrected.unchanged and corrected.model == "both"
    assert corrected.dice == pytest.approx(dice(disk, accepted), abs=0.02)
    assert corrected.nsd == pytest.approx(normalized_surface_dice(disk, accepted), abs=0.05)


def test_what_was_proposed_and_refused_or_missed_counts_as_nothing(folder):
    with Project.open(folder, "ana") as project:
        list(scan(project, "bar", MODEL, MODEL))
        with project.open_case("c0001") as case:
            bar = project.classes.named("bar").label
            box = (slice(2, 3), slice(40, 50), slice(5, 15))
            case.session.paint(box, np.full((1, 10, 10), bar, np.uint8))
            case.session.accept(at(2))
            case.session.apply(case.session.plan_text(at(3), "square").run(MODEL, MODEL))
            case.session.clear(at(3))
            case.session.accept(at(3), [DISK])
        missed, refused = sorted(report_of(efforts(project)).proposals, key=lambda one: one.at[0])
    assert missed.label == bar and missed.dice == 0 and missed.model == "both"
    assert refused.dice == 0 and not refused.unchanged


def test_undone_work_is_not_accepted_and_figures_outlive_compaction(worked, monkeypatch):
    before = case_effort(worked.case_folder("c0001"), worked.study("c0001").grid.shape, keep=False)
    monkeypatch.setattr("napari_medclipsam.projects.compaction.MOST_RECORDS", 5)
    monkeypatch.setattr("napari_medclipsam.projects.compaction.KEPT_RECORDS", 2)
    with worked.open_case("c0001") as case:
        assert (worked.case_folder("c0001") / "history").exists()
        case.session.undo()
        after = case_effort(worked.case_folder("c0001"), worked.study("c0001").grid.shape, keep=False)
    assert [one.at[0] for one in after.proposals] == [0] and after.proposals == before.proposals[:1]


def test_figures_are_kept_until_the_journal_grows(worked):
    path = worked.case_folder("c0001") / "effort.json"
    first = report_of(efforts(worked))
    path.write_text(path.read_text().replace('"ana"', '"ben"'))
    assert {row.reader for row in report_of(efforts(worked)).slices} == {"ben"}
    with worked.open_case("c0001") as case:
        case.note({"flag": True}, at(2))
    assert {row.reader for row in report_of(efforts(worked)).slices} == {"ana"}
    path.write_text("{")
    assert report_of(efforts(worked)).proposals == first.proposals


def test_tables_hold_the_figures(worked, tmp_path):
    report = report_of(efforts(worked))
    slices, proposals, figures = write_tables(report, tmp_path / "out")
    assert slices.read_text().splitlines()[0].startswith("case,axis,slice,reader,active_s,clicks")
    assert len(proposals.read_text().splitlines()) == 3
    rows = [line.split(",")[:2] for line in figures.read_text().splitlines()[1:]]
    assert rows == [["all", "all"], ["case", "c0001"], ["day", "2026-11-22"], ["reader", "ana"], ["model", "both"]]


def test_pictures_are_drawn_where_matplotlib_is(worked, tmp_path):
    pytest.importorskip("matplotlib")
    from napari_medclipsam.projects.plots import write_plots

    for path in write_plots(report_of(efforts(worked)), tmp_path):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_nothing_says_so(worked):
    pytest.importorskip("matplotlib")
    from napari_medclipsam.projects import plots

    figures = [plots.require_matplotlib()() for _ in range(3)]
    plots._draw_curve_with_words(figures[0], stop_curve([]))
    plots._draw_groups(figures[1], [], "day", "No reader has accepted a slice yet.")
    slices = report_of(efforts(worked)).slices
    plots._draw_groups(figures[2], Report(slices, []).by_day(), "day", "No reader has accepted a slice yet.")
    assert [text.get_text() for text in figures[0].texts] == [stop_curve([]).message] and not figures[0].axes
    assert [text.get_text() for text in figures[1].texts] == ["No reader has accepted a slice yet."]
    assert not figures[1].axes
    _, right = figures[2].axes
    assert "No proposal of a model" in right.texts[0].get_text() and right.get_legend() is None


def learning_curve(n: int, plateau: float, gap: float, pace: float, noise: float = 0.05, seed: int = 1) -> list[float]:
    values = plateau - gap * np.exp(-np.arange(n) / pace) + np.random.default_rng(seed).normal(0, noise, n)
    return np.clip(values, 0, 1).tolist()


def test_too_few_slices_are_said_to_be_too_few():
    curve = stop_curve(learning_curve(19, 0.9, 0.5, 5))
    assert curve.plateau is None and "Not enough slices yet: 19" in curve.message


def test_a_curve_that_has_levelled_off_and_one_that_has_not():
    flat = stop_curve(learning_curve(200, 0.88, 0.5, 15))
    assert flat.plateau == pytest.approx(0.88, abs=0.02) and flat.gain < 0.005
    assert "levelled off at Dice 0.8" in flat.message
    rising = stop_curve(learning_curve(40, 0.9, 0.6, 40))
    assert rising.gain > 0.02 and "still getting better" in rising.message


def test_the_interval_holds_the_plateau_as_often_as_it_says():
    """Of 60 curves with the same plateau: 95 % of 60 is 57; fewer than 50 would be another interval."""
    held = 0
    for seed in range(60):
        low, high = stop_curve(learning_curve(120, 0.85, 0.4, 20, 0.08, seed)).interval
        held += low <= 0.85 <= high
    assert held >= 50


def test_perfect_and_constant_proposals_are_a_plateau():
    for value in (1.0, 0.5, 0.0):
        curve = stop_curve([value] * 30)
        assert curve.plateau == pytest.approx(value) and curve.gain == pytest.approx(0, abs=1e-6)
