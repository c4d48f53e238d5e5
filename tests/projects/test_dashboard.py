"""What the dashboard says, and that every panel is a picture of the size that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.projects.dashboard import dashboard_of, duration
from napari_medclipsam.projects.effort import ProposalQuality, SliceEffort
from napari_medclipsam.projects.panels import Look, panels_of, picture
from napari_medclipsam.projects.report import Report
from napari_medclipsam.projects.second import ClassAgreement


@pytest.fixture
def board():
    """Forty slices over two days by two models; every second proposal of the first was corrected."""
    slices, proposals = [], []
    for n in range(40):
        time = f"2026-11-{16 + n // 30}T08:{n:02d}:00.000Z"
        wrong = n < 20 and n % 2
        slices.append(SliceEffort("c0001", [n, None, None], "ana", 30.0, 2 * wrong, 0, wrong, time))
        dice = 0.5 if wrong else 1.0
        model = "lite 1" if n < 20 else "lite 2"
        proposals.append(
            ProposalQuality("c0001", [n, None, None], 1, 1, model, "ana", time, dice, dice, unchanged=not wrong)
        )
    proposals[-1] = ProposalQuality("c0001", [39, None, None], 1, 1, "", "ana", time, 0.0, 0.0, unchanged=False)
    agreed = [ClassAgreement("c0001", 1, 5, 1, 0, 4, 0.9, 0.9), ClassAgreement("c0002", 1, 30, 0, 0, 0, 0.7, 0.8)]
    return dashboard_of(Report(slices, proposals), agreed, {1: "disk"})


def test_the_figures_and_their_sentences(board):
    assert board.cards[:3] == [("40", "slices accepted"), ("20 min", "of work"), ("30 s", "per slice")]
    assert board.days_words == "40 slices in 20 min on 2 days; most on 2026-11-16: 30."
    assert board.fates == {"lite 1": [10, 0, 10, 0], "lite 2": [19, 0, 0, 0], "unknown": [0, 0, 0, 1]}
    assert board.steps[9] == pytest.approx(1.0) and board.steps[-1] == 0 and board.corrections[9] == pytest.approx(0.5)
    (agreed,) = board.agreement
    assert (agreed.name, agreed.n_cases, agreed.n_slices) == ("disk", 2, 40)
    assert agreed.dice == pytest.approx((10 * 0.9 + 30 * 0.7) / 40)
    assert "Best of 2 models: lite 2" in board.models_words and "Dice 0.75" in board.agreement_words
    assert duration(7200) == "2.0 h"


def test_every_panel_is_drawn_in_the_colours_of_the_window(board):
    for look in (Look("#ffffff", "#202020", 13.0), Look("#000000", "#f0f0f0", 26.0)):
        paper = [int(look.paper[i : i + 2], 16) for i in (1, 3, 5)]
        for panel in panels_of(board):
            pixels = picture(panel, 320, 200, look)
            assert pixels.shape == (200, 320, 4) and pixels[0, 0, :3].tolist() == paper
            assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 10, panel.title


def test_an_empty_project_says_what_is_missing():
    empty = dashboard_of(Report([], []), [], {})
    assert [panel.draw for panel in panels_of(empty)] == [None] * 6
    assert all("yet" in panel.words for panel in panels_of(empty))
