"""Learning in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from projects_to_learn import TINY, project_of

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.folders import work_folder
from napari_medclipsam.learning.status import LOST, Process, Status, read_status, write_status
from napari_medclipsam.learning.trigger import LearningSettings
from napari_medclipsam.learning.versions import active_version, list_versions
from napari_medclipsam.learning.worker import Worker
from napari_medclipsam.projects.project import Project

PATIENCE_S = 120
BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "worker.py"


@pytest.fixture
def long(monkeypatch):
    """A fit that takes longer than any test."""
    monkeypatch.setenv("TINY_STEPS", "100000")
    monkeypatch.setenv("TINY_STEP_S", "0.005")


@pytest.fixture
def worker(folder):
    worker = Worker(folder)
    yield worker
    worker.cancel()


def until(worker, *states):
    deadline = time.monotonic() + PATIENCE_S
    while worker.status.state not in states:
        assert time.monotonic() < deadline and (worker.is_running or worker.status.state in states), worker.status
        time.sleep(0.01)


def test_from_accepted_slices_to_a_version_in_use(folder, worker):
    told = []
    worker._told = told.append
    # The window has the project open and writes its journals meanwhile.
    with Project.open(folder, "ana"):
        worker.start(TINY)
        status = worker.wait(PATIENCE_S)
    assert status.state == "done" and status.better and status.version == "v0001" and status.n_slices == 12
    assert status.message.startswith("v0001 is in use from now on. Better: Dice 0.000 →")
    assert active_version(folder).lineage["trigger"] == "asked for"
    assert [s.fraction for s in told] == sorted(s.fraction for s in told)
    assert status.memory_bytes > 0 and status.process.find() is None
    assert (work_folder(folder) / "progress.jsonl").read_text().count("loss") > 0


def test_pause_resume_cancel(long, worker):
    worker.start(TINY)
    until(worker, "fitting")
    worker.pause()
    process = worker._process.find()
    until(worker, "paused")
    used = sum(process.cpu_times()[:2])
    time.sleep(0.3)
    assert sum(process.cpu_times()[:2]) - used < 0.05
    worker.resume()
    until(worker, "fitting")
    assert worker.cancel().state == "cancelled" and process.is_running() is False
    assert not (work_folder(worker._project) / "tiny").exists() and list_versions(worker._project) == []


def test_it_holds_while_the_user_acts(long, worker, monkeypatch):
    monkeypatch.setattr("napari_medclipsam.learning.worker.IDLE_S", 0.5)
    worker.start(TINY)
    until(worker, "fitting")
    worker.user_acts()
    until(worker, "paused")
    until(worker, "fitting")


def test_killed_it_goes_on_from_its_checkpoint(long, worker, folder, monkeypatch):
    worker.start(TINY)
    until(worker, "fitting")
    while not (work_folder(folder) / "tiny/model/checkpoint.safetensors").exists():
        time.sleep(0.01)
    worker._process.find().kill()
    status = worker.wait(PATIENCE_S)
    assert status.state == "failed" and status.message == LOST and read_status(folder).message == LOST
    monkeypatch.setenv("TINY_STEPS", "12")
    worker.start(TINY)
    assert worker.wait(PATIENCE_S).state == "done"
    assert active_version(folder).lineage["fit"]["model"]["said"]["went_on_at"] > 0


def test_one_at_a_time_and_found_again(long, worker, folder):
    worker.start(TINY)
    until(worker, "fitting")
    again = Worker(folder)
    with pytest.raises(LearningError, match="already"):
        again.start(TINY)
    worker.let_go()
    worker.wait(PATIENCE_S)
    assert again.attach() and again.status.learner == "tiny"
    assert again.stop().state == "stopped" and not Worker(folder).attach()


def test_it_stops_when_whom_it_works_for_is_gone(long, folder):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom napari_medclipsam.learning.worker import Worker\n"
        "from projects_to_learn import TINY\nworker = Worker(Path(sys.argv[1]))\nworker.start(TINY)\n"
        "while worker.status.state != 'fitting':\n    time.sleep(0.01)\nworker.pause()\nprint('held', flush=True)\n"
        "time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True) as viewer:
        assert viewer.stdout.readline() == "held\n"
        process = read_status(folder).process
        viewer.kill()
    deadline = time.monotonic() + PATIENCE_S
    while process.find() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert read_status(folder).state == "stopped"


@pytest.mark.parametrize(
    ("kind", "words"), [("disk", "The disk is full"), ("memory", "memory is not enough"), ("other", "Unexpected Value")]
)
def test_trouble_is_told_in_a_sentence_without_names(folder, worker, monkeypatch, kind, words):
    monkeypatch.setenv("TINY_FAILS_WITH", kind)
    worker.start(TINY)
    status = worker.wait(PATIENCE_S)
    assert status.state == "failed" and words in status.message and "Müller" not in status.message


def test_an_image_that_was_moved_is_named_by_its_case(tmp_path):
    folder = project_of(tmp_path / "project", 1)
    (image,) = (tmp_path / "scans").iterdir()
    image.unlink()
    worker = Worker(folder)
    worker.start(TINY)
    status = worker.wait(PATIENCE_S)
    assert "1 case can't be used" in status.message and "the image of c0001" in status.message
    assert "MUELLER" not in (work_folder(folder) / "status.json").read_text()


def test_a_process_that_only_has_the_same_number_is_not_ours(folder):
    work_folder(folder).mkdir(parents=True)
    write_status(folder, Status("fitting", Process(Process.this().pid, 1.0), "tiny"))
    assert read_status(folder).state == "failed" and not Worker(folder).attach()


def test_when_a_project_learns_by_itself():
    settings = LearningSettings(every=20)
    kept = {}
    settings.into(kept)
    assert LearningSettings.of({"settings": kept}) == settings
    assert settings.is_due(25, 5) and not settings.is_due(24, 5) and not LearningSettings().is_due(100, 0)
    assert LearningSettings.of({"settings": {"learning": {"every": "x", "minutes": 3}}}).minutes == 3


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_at_random_moments_no_version_is_half_registered():
    arguments = ["--kills", "3", "--pauses", "0"]
    done = subprocess.run([sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no version half-registered" in done.stdout
