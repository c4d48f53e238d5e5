"""``medclipsam learn`` and ``medclipsam versions``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from napari_medclipsam.models.registry import load

TESTS = Path(__file__).resolve().parents[1]
PARTS = (TESTS, TESTS / "learning", TESTS / "learning" / "plugin")
sys.path.insert(0, str(TESTS / "learning"))

from projects_to_learn import project_of  # noqa: E402


@pytest.fixture(autouse=True)
def plugin(monkeypatch):
    monkeypatch.syspath_prepend(str(PARTS[-1]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((*map(str, PARTS), os.environ.get("PYTHONPATH", ""))))


@pytest.fixture
def folder(tmp_path):
    return project_of(tmp_path / "project", 4)


LEARN = ("--learner", "tiny", "--model", "blind", "--device", "cpu")


def test_learn_look_go_back(run, folder, monkeypatch):
    assert "Nothing was learnt" in run("versions", "list", folder)[1]
    code, out, err = run("learn", folder, *LEARN, "--budget", "1m")
    assert code == 0 and out.startswith("v0001 is in use from now on. Better:") and not err
    code, out, _ = run("versions", "list", folder)
    assert code == 0 and "promoted" in out and "In use: v0001. 1 version," in out
    code, out, _ = run("versions", "show", folder, "v0001")
    assert code == 0 and "classes disk" in out and "checked" in out
    code, out, _ = run("versions", "compare", folder, "base", "v0001", "--json")
    assert code == 0 and json.loads(out)["total"]["gain"] > 0.9
    (scan, *_) = (folder.parent / "scans").iterdir()
    segment = ("segment", scan, "--text", "disk", "--model", "blind")
    code, _, err = run(*segment[:-1], "lite", "--project", folder)
    assert code == 2 and "was learnt on blind, and this is both" in err
    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", load)
    assert 'does not know "disk"' in run(*segment)[2]
    _, out, err = run(*segment, "--project", folder)
    assert "disk: present" in out and f"blind answers with what {folder} has learnt: v0001 (tiny)." in err
    assert run("versions", "rollback", folder)[1] == "The model that all began with is in use again.\n"
    assert run("versions", "promote", folder, "v0001")[0] == 0
    code, _, err = run("versions", "delete", folder, "v0001")
    assert code == 2 and "is in use" in err
    assert run("versions", "rollback", folder)[0] == 0
    assert f"blind answers as it is: {folder} has nothing in use" in run(*segment, "--project", folder)[2]
    assert run("versions", "delete", folder, "v0001")[0] == 0
    assert json.loads(run("versions", "list", folder, "--json")[1]) == []


def test_what_can_not_be_learnt(run, tmp_path, folder):
    assert "nowhere is no project: " in run("learn", tmp_path / "nowhere")[2]
    code, _, err = run("learn", folder, "--learner", "magic", "--model", "blind")
    assert code == 2 and "no learner 'magic'; there are: instant, decoder" in err
    (tmp_path / "other").mkdir()
    empty = project_of(tmp_path / "other" / "project", 1, accept=False)
    code, _, err = run("learn", empty, *LEARN)
    assert code == 2 and "no slice of this project is accepted yet" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_keeps_what_is_done(folder, monkeypatch):
    monkeypatch.setenv("TINY_STEPS", "100000")
    monkeypatch.setenv("TINY_STEP_S", "0.005")
    command = [sys.executable, "-m", "napari_medclipsam.cli", "learn", str(folder), *LEARN]
    # What is started in the background of a shell would ignore Ctrl-C, and hand that on.
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, preexec_fn=listens, **pipes) as shell:
        checkpoint = folder / "models/work/tiny/model/checkpoint.safetensors"
        while not checkpoint.exists():
            assert shell.poll() is None
            time.sleep(0.05)
        shell.send_signal(signal.SIGINT)
        _, err = shell.communicate(timeout=60)
    assert shell.returncode == 130 and "What was done is kept" in err and checkpoint.exists()


def test_learn_from_captions(run, tmp_path, monkeypatch):
    from captioned import write_pairs, write_table

    from clip_samples import save_open_clip

    pairs, model = write_pairs(tmp_path / "data", 5), f"local-dir:{save_open_clip(tmp_path / 'model', 'plain')}"
    with open(pairs, "a", encoding="utf-8") as table:
        table.write("p0_0.png,,\n")
    learn = ("learn", "clip", pairs, "--model", model, "--device", "cpu", "--epochs", "1", "--batch", "6", "--lora")
    code, out, err = run(*learn)
    assert code == 0 and out.startswith("v0001 is kept") and "1 pair (line 62) is left out, for the caption" in err
    home = tmp_path / "data" / "pairs-clip"
    assert f"Versions are kept in {home}" in err
    assert "RECALL" in run("versions", "list", home)[1]
    code, out, _ = run("versions", "show", home, "v0001")
    assert code == 0 and "loss dhn-nce, lora, rate 0.0001, batches of 6" in out and "checked" in out
    code, _, err = run("versions", "promote", home, "v0001")
    assert code == 0 and "v0001" in err and "than the model that all began with" in err
    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", load)
    code, out, _ = run("segment", tmp_path / "data" / "p0_0.png", "--text", "square", "--model", f"{model}+lite",
                       "--project", home, "--output", tmp_path / "mask.png", "--device", "cpu")  # fmt: skip
    assert code == 0 and "square" in out
    assert "at least 2; got 1" in run(*learn, "--batch", "1")[2]
    assert "above 0" in run(*learn, "--temperature", "0")[2]
    one = write_table(tmp_path / "data" / "one.csv", [("p0_0.png", "a square", "")])
    code, _, err = run("learn", "clip", one, "--model", model)
    assert code == 2 and "at least two different captions are needed; there are 1" in err
    assert not (tmp_path / "data" / "one-clip").exists()


def test_a_table_of_captions_is_no_project(run, tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("image,caption\na.png,a mass\n")
    code, _, err = run("learn", pairs)
    assert code == 2 and "medclipsam learn clip" in err


def test_a_model_that_is_not_installed_is_told_before_anything_is_made(run, png, tmp_path):
    pairs = tmp_path / "in" / "pairs.csv"
    rows = [f"{png[0].name},a mass in the picture", f"{png[0].name},no mass in the picture"]
    pairs.write_text("\n".join(["image,caption", *rows]))
    told = {
        "biomedclip": "models fetch biomedclip",
        "lite": "lite is no text-image encoder",
        "local-dir:/none": "There is no folder /none",
    }
    for model, words in told.items():
        code, _, err = run("learn", "clip", pairs, "--model", model)
        assert code == 2 and words in err and not (tmp_path / "in" / "pairs-clip").exists()


def test_versions_of_a_project_that_has_fine_tuned_nothing(run, tmp_path):
    run("project", "init", tmp_path / "p")
    code, _, err = run("versions", "list", tmp_path / "p" / "clip")
    assert code == 2 and f"medclipsam learn clip {tmp_path / 'p'}" in err
