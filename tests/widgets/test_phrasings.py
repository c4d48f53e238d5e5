"""Phrasings side by side, and saliency methods tried on the slice on screen."""

from __future__ import annotations

import time

import pytest
from napari.components import ViewerModel

from clip_samples import make_encoder
from napari_medclipsam.saliency import gscorecam
from napari_medclipsam.saliency.grounder import ClipGrounder
from napari_medclipsam.saliency.maps import at_size
from napari_medclipsam.widgets import _work
from synthetic import RegionGrower


def test_a_click_on_a_picture_asks_that_phrasing(desk, qtbot):
    dock = desk.dock
    dock.find_row.field.setText("disk")
    dock.find_row.compare.click()
    window = dock.phrasings
    assert window.isVisible() and window.field.toPlainText() == "disk"
    window.field.setPlainText("disk\nbar\n\ncarpet")
    window.button.click()
    qtbot.waitUntil(lambda: len(window.cards) == 3, timeout=20_000)
    told = [card.text().split("\n") for card in window.cards]
    assert told[0] == ["disk", "✔ found", "1.00"] and told[1][1] == "– not in this image" and "not known" in told[2][1]
    assert not desk.session.answers(desk.at) and not window.stop.isVisible()
    window.cards[0].click()
    desk.idle()
    assert not window.isVisible() and desk.session.answers(desk.at)[0].verdict == "found"
    assert dock.find_row.field.text() == "disk"


def test_what_can_not_be_compared_is_said(desk):
    window = desk.dock.phrasings
    window.field.setPlainText("\n".join(f"mass {n}" for n in range(7)))
    window.button.click()
    assert "6 is the limit" in window.told.text() and not window.cards


@pytest.fixture
def clip_desk(open_desk, disk_stack, monkeypatch):
    """The dock with a small CLIP model, whose loads are counted."""
    loads = []

    def load(name, device=None, saliency_method="legrad", **more):
        loads.append(name)
        return ClipGrounder(make_encoder("plain"), saliency_method), RegionGrower()

    monkeypatch.setattr(_work, "load_beside_opengl", load)
    viewer = ViewerModel()
    viewer.add_image(disk_stack[0], name="stack", scale=(4, 1, 1), units=("mm",) * 3)
    viewer.dims.set_current_step(0, 3)
    desk = open_desk(viewer)
    page = desk.dock.options
    page.models.setCurrentIndex(page.models.findData("biomedclip+lite"))
    page.models.activated.emit(page.models.currentIndex())
    desk.idle()
    return desk, page, loads


def test_a_method_is_tried_on_the_slice_on_screen(clip_desk, qtbot):
    desk, page, loads = clip_desk
    assert "on this machine" in page.method_line.text()
    assert page.methods.itemText(page.methods.count() - 1).startswith("M2IB, ")
    desk.ask("brain tumor")
    before, n_loads = desk.session.answers(desk.at)[0].saliency.values_yx, len(loads)
    for name in ("gscorecam", "gradcam", "m2ib"):
        page.methods.setCurrentIndex(page.methods.findData(name))
        page.methods.activated.emit(page.methods.currentIndex())
    qtbot.waitUntil(lambda: desk.session.answers(desk.at)[0].saliency.values_yx is not before, timeout=20_000)
    desk.idle()
    # The list was passed through: the last one alone was tried, and the model was not loaded again.
    assert len(loads) == n_loads and desk.dock.workspace.model.saliency_method == "m2ib"
    assert (desk.session.answers(desk.at)[0].saliency.values_yx != before).any()
    assert "specificity" in desk.dock.answers.text()


def test_the_whole_volume_with_a_slow_method_and_cancel(clip_desk, qtbot, monkeypatch):
    desk, page, _ = clip_desk
    monkeypatch.setattr(gscorecam, "at_size", lambda *args: time.sleep(0.2) or at_size(*args))
    seen = []
    desk.dock.workspace.work.happened.connect(seen.append)
    page.methods.setCurrentIndex(page.methods.findData("gscorecam"))
    page.methods.activated.emit(page.methods.currentIndex())
    desk.ask("brain tumor")
    seen.clear()
    said, label = [], desk.dock.status.message
    show = label.setText
    monkeypatch.setattr(label, "setText", lambda sentence: (said.append(sentence), show(sentence)))
    desk.dock.verbs.whole_volume()
    # The slice in view is asked again beside it, and tells how far it is, too.
    qtbot.waitUntil(
        lambda: any(getattr(event, "done", 0) > 0 and event.request.kind == "volume" for event in seen), timeout=20_000
    )
    desk.dock.status.stop.click()
    desk.idle()
    # The answer for the slice in view may come after it.
    assert any(sentence.startswith("Cancelled: found") for sentence in said)
    assert not desk.dock.status.stop.isVisibleTo(desk.dock)
