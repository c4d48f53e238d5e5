"""A run of learning from beginning to end, in this process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_learner
from projects_to_learn import TINY, accept_disk, add_patients, project_of

from napari_medclipsam.annotation.places import SliceAt
from napari_medclipsam.errors import LearningError, ModelError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.learning.child import _outcome
from napari_medclipsam.learning.comparing import compare
from napari_medclipsam.learning.contracts import Settings
from napari_medclipsam.learning.control import Stopped
from napari_medclipsam.learning.folders import work_folder
from napari_medclipsam.learning.loading import project_pair
from napari_medclipsam.learning.run import Run
from napari_medclipsam.learning.status import Status
from napari_medclipsam.learning.teller import Teller
from napari_medclipsam.learning.versions import active_version, find_version, list_versions, promote, roll_back
from napari_medclipsam.projects.project import Project
from synthetic import picture


def learn(folder, teller=None, request=TINY):
    (folder / "models/work").mkdir(parents=True, exist_ok=True)
    teller = teller or Teller(folder, None, Status("starting"))
    try:
        return Run(folder, request, teller).work()
    finally:
        teller.control.close()


class StopsAfter(Teller):
    """Ends the work after some steps, as a command does."""

    def __init__(self, folder, steps):
        super().__init__(folder, None, Status("starting"))
        self.left = steps

    def step(self, fraction, **figures):
        super().step(fraction, **figures)
        self.left -= 1
        if self.left < 0:
            raise Stopped


def test_what_is_better_is_used_from_then_on(folder):
    version, verdict = learn(folder)
    assert verdict.better and version.state == "promoted" and verdict.method == "leave-one-patient-out"
    assert verdict.total.before == 0 and verdict.total.after > 0.9
    assert version.lineage["data"]["journals"]["c0001"]["records"][0] == 1
    assert {fit["said"]["steps"] for fit in version.lineage["fit"].values()} == {tiny_learner.N_STEPS}
    assert not (work_folder(folder) / "tiny").exists()


def test_on_a_model_that_takes_no_text(folder):
    version, verdict = learn(folder, request=replace(TINY, settings=Settings(base="deaf")))
    assert verdict.better and verdict.total.before == 0 and version.lineage["base"]["name"] == "deaf"
    (grounder, segmenter), _ = project_pair(folder, "deaf")
    image = Slice(picture("disk", "square")[0])
    assert grounder.saliency(image, "disk").present and isinstance(segmenter, tiny_learner.Deaf)
    # The model by itself still takes no text.
    roll_back(folder, "ana")
    with pytest.raises(ModelError, match="does not take text"):
        project_pair(folder, "deaf")


def test_what_is_no_better_is_kept_and_not_used(folder):
    learn(folder)
    version, verdict = learn(folder)
    assert verdict.better is False and version.state == "not better"
    assert active_version(folder).name == "v0001" and version.lineage["parent"] == "v0001"
    assert _outcome(version, verdict).startswith("v0002 is kept and not used; v0001 stays in use. Not shown")
    assert verdict.total.before == pytest.approx(verdict.total.after)


def test_what_is_worse_is_not_used(folder, monkeypatch):
    learn(folder)
    monkeypatch.setattr(tiny_learner, "WRONG_BY", 60)
    version, verdict = learn(folder)
    assert verdict.better is False and "disk loses" in verdict.message and active_version(folder).name == "v0001"
    assert compare(folder, "v0001", version.name, "cpu").total.gain < -0.9
    assert compare(folder, "base", "v0001", "cpu").total.gain > 0.9


def test_no_model_is_measured_on_a_patient_that_it_has_learnt_from(folder, monkeypatch):
    taught = {}
    fit = tiny_learner.TinyLearner.fit

    def noted(self, examples, parent, place, settings, watch):
        taught[place.name] = {e.patient for e in examples}
        return fit(self, examples, parent, place, settings, watch)

    monkeypatch.setattr(tiny_learner.TinyLearner, "fit", noted)
    version, _ = learn(folder)
    patients = set(version.lineage["data"]["patients"])
    assert taught.pop("model") == patients and len(patients) == 4
    assert all(len(patients - seen) == 1 for seen in taught.values())
    assert set().union(*(patients - seen for seen in taught.values())) == patients


def test_held_out_patients_teach_nothing(tmp_path):
    # Who is held out is drawn by the project's id, which is new each time: of so many, hardly ever nobody.
    folder = project_of(tmp_path / "project", 20, n_slices=1)
    version, verdict = learn(folder)
    data = version.lineage["data"]
    assert data["held_out"] and not set(data["held_out"]) & set(data["patients"])
    assert verdict.total.n_patients == 20


def test_one_patient_can_not_be_judged(tmp_path):
    version, verdict = learn(project_of(tmp_path / "project", 1))
    assert verdict.better is None and version.state == "candidate" and active_version(tmp_path / "project") is None
    assert promote(tmp_path / "project", version.name, "ana").state == "promoted"


def test_it_goes_on_where_it_was_stopped(folder):
    with pytest.raises(Stopped):
        learn(folder, StopsAfter(folder, tiny_learner.N_STEPS + 7))
    version, _ = learn(folder)
    fits = version.lineage["fit"]
    # The whole was finished, the first refit was in the middle, the second had not begun.
    assert [fits[name]["said"]["went_on_at"] for name in ("model", "folds/0", "folds/1")] == [0, 6, 0]


def test_slices_that_were_accepted_meanwhile_are_learnt_too(folder):
    with pytest.raises(Stopped):
        learn(folder, StopsAfter(folder, 5))
    with Project.open(folder, "ana") as project:
        add_patients(project, 2, np.random.default_rng(1), picture("disk")[0])
        accept_disk(project, "c0005", picture("disk")[1]["disk"])
        with project.open_case("c0006") as looked_at:
            looked_at.note({"flag": True})
    data = learn(folder)[0].lineage["data"]
    # The fifth patient may be held out; in the sixth case nothing is accepted.
    assert len(data["journals"]) == 6
    assert data["cases"][:4] == ["c0001", "c0002", "c0003", "c0004"] and "c0006" not in data["cases"]


def test_nothing_accepted_and_nothing_drawn(tmp_path):
    folder = project_of(tmp_path / "project", 1, accept=False)
    with pytest.raises(LearningError, match="no slice of this project is accepted yet"):
        learn(folder)
    with Project.open(folder, "ana") as project, project.open_case("c0001") as case:
        # Drawn, accepted, and taken away again: the class is not in this slice.
        part = (slice(0, 1), slice(0, 3), slice(0, 3))
        case.session.paint(part, np.ones((1, 3, 3), np.uint8))
        case.session.accept(SliceAt.across(0, 0))
        case.session.paint(part, np.zeros((1, 3, 3), np.uint8))
    with pytest.raises(LearningError, match="every accepted slice is empty"):
        learn(folder)


def test_a_corrupt_checkpoint_costs_its_fit_only(folder):
    with pytest.raises(Stopped):
        learn(folder, StopsAfter(folder, tiny_learner.N_STEPS + 7))
    (work_folder(folder) / "tiny/folds/0/checkpoint.safetensors").write_bytes(b"nothing")
    version, verdict = learn(folder)
    assert verdict.better and version.lineage["fit"]["folds/0"]["said"]["went_on_at"] == 0


def test_a_version_in_use_that_is_damaged_stops_the_run(folder):
    learn(folder)
    (find_version(folder, "v0001").folder / "model/names.json").write_text("[]")
    with pytest.raises(LearningError, match="v0001 is damaged"):
        learn(folder)
    assert len(list_versions(folder)) == 1
