import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from synthetic import picture, save

SRC = Path(__file__).parents[2] / "src"
TESTS = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}


def test_help_loads_nothing_heavy():
    code = textwrap.dedent("""
        import sys
        from napari_medclipsam.cli import main
        try:
            main(["--help"])
        except SystemExit as end:
            assert end.code == 0
        heavy = {"torch", "numpy", "scipy", "PIL", "nibabel", "napari", "qtpy", "tqdm"} & set(sys.modules)
        assert not heavy, heavy
    """)
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "segment" in done.stdout and "doctor" in done.stdout


@pytest.mark.parametrize(
    "args", [[], ["segment"], ["segment", "x.png"], ["nonsense"], ["evaluate", "d", "--text", "t", "--limit", "0"]]
)
def test_wrong_usage_is_exit_code_2(args, capsys):
    from napari_medclipsam.cli import main

    with pytest.raises(SystemExit) as end:
        main(args)
    assert end.value.code == 2 and "usage" in capsys.readouterr().err


def test_a_mistyped_option_is_named_with_the_one_that_was_meant(capsys):
    from napari_medclipsam.cli import main

    for args in (["segment", "x.png", "--text", "t", "--previw", "p.png"], ["project", "queue", "p", "--scna"]):
        with pytest.raises(SystemExit) as end:
            main(args)
        told = capsys.readouterr().err
        assert end.value.code == 2 and f"usage: medclipsam {args[0]}" in told
        assert ("--preview?" in told) or ("--scan?" in told)


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["segment", "x.png", "--texxt", "t"], "'--texxt' is not known here; do you mean --text?"),
        (["segmnt", "x.png"], "do you mean segment?"),
        (["project", "exprt", "p"], "do you mean export?"),
        (["learn", "p", "--lerner", "unet"], "do you mean --learner?"),
    ],
)
def test_what_was_meant_is_said_before_what_is_missing(args, meant, capsys):
    from napari_medclipsam.cli import main

    with pytest.raises(SystemExit):
        main(args)
    assert meant in capsys.readouterr().err


def test_numbers_may_begin_with_a_minus(run, png):
    assert run("segment", png[0], "--text", "disk", "--window", "-160,240", "--output", png[0].parent / "m.png")[0] == 0
    _, _, err = run("ask", png[0], "is this a disk?", "--box", "-5,-5,20,20")
    assert "clipped to 0,0,20,20" in err


def test_debug_works_before_and_after_the_verb(run, png):
    for args in (["--debug", "segment"], ["segment", "--debug"]):
        code, _, err = run(*args, png[0], "--text", "gizmo")
        assert code == 2 and "Traceback" in err
    assert "Traceback" not in run("segment", png[0], "--text", "gizmo")[2]


def test_ctrl_c_in_a_batch_keeps_what_is_done(tmp_path):
    folder = tmp_path / "many"
    for i in range(40):
        save(folder / f"p{i:02}.png", picture("disk")[0])
    script = textwrap.dedent("""
        import sys, time
        from synthetic import Both
        import napari_medclipsam.saliency.pair as loading

        class Slow(Both):
            def embed(self, image):
                time.sleep(0.2)
                return super().embed(image)

        loading.load = lambda name, device=None: Slow()
        from napari_medclipsam.cli import main
        sys.exit(main(["segment", sys.argv[1], "--text", "disk", "--output", sys.argv[2], "--json"]))
    """)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), str(out)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that started the tests in the background makes children ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    first = [process.stdout.readline() for _ in range(3)]
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    told = [json.loads(line) for line in [*first, *rest.splitlines()]]
    assert "Traceback" not in err and f"{len(told)} of 40 inputs done" in err and str(out) in err
    rows = (out / "results.csv").read_text().splitlines()
    assert len(rows) == len(told) + 1
    assert sorted(p.name for p in out.glob("*_mask.png")) == [f"p{i:02}_mask.png" for i in range(len(told))]
    assert not list(out.glob(".partial*"))


def test_evaluate_prints_table_and_json(run, tmp_path):
    for i in range(3):
        pixels, masks = picture("disk")
        save(tmp_path / "set" / "images" / f"p{i}.png", pixels)
        save(tmp_path / "set" / "masks" / f"p{i}.png", masks["disk"])
    code, out, err = run("evaluate", tmp_path / "set", "--text", "disk", "--absent", "bar", "square")
    assert (code, err) == (0, "") and "DSC" in out and "n = 3" in out
    code, out, _ = run("evaluate", tmp_path / "set", "--text", "disk", "--limit", "2", "--json")
    assert code == 0 and json.loads(out)["dsc"] == {"mean": 1.0, "std": 0.0, "median": 1.0, "n": 2}
    assert run("evaluate", tmp_path / "nothing", "--text", "disk")[0] == 2
    assert run("evaluate", tmp_path / "set", "--text", "")[0] == 2


def test_models_list_and_errors(run, tmp_path):
    code, out, _ = run("models", "list")
    assert code == 0 and "lite" in out and "sam-vit-b" in out and "Apache-2.0" in out
    told = json.loads(run("models", "list", "--json")[1])
    assert {"name", "state", "licence", "size_bytes", "files"} <= set(told[0])
    for args in (
        ["fetch", "nothing"],
        ["fetch", "lite", "--sha256", "x"],
        ["import", tmp_path / "no"],
        ["bundle", "lite"],
    ):
        code, _, err = run("models", *args)
        assert code == 2 and len(err.strip().splitlines()) == 1 and "Traceback" not in err


def test_doctor_reports_and_tests_itself(run):
    code, out, err = run("doctor", "--json")
    checks = {c["name"]: c for c in json.loads(out)}
    assert checks["self-test"]["found"]
    assert {"medclipsam", "packages", "device", "memory", "model lite", "model sam-vit-b"} <= set(checks)
    assert "fetch sam-vit-b" in checks["model sam-vit-b"]["remedy"]
    # Its synthetic model does not know "brain tumor": that is found, told and mended.
    assert code == 2 and checks["self-test"]["state"] == "problem" and checks["self-test"]["remedy"]
    assert "problem" in err
    assert "→" in run("doctor")[1]


def test_demo_headless_writes_pictures(run, tmp_path, monkeypatch):
    from synthetic import IntensityGrounder, RegionGrower

    class BrightLesions(IntensityGrounder):
        name = "bright"

        def saliency(self, image, text):
            from napari_medclipsam.models.contracts import SaliencyMap

            values = (image.pixels > 205).astype(np.float32)
            return SaliencyMap(values, text, 1.0, bool(values.sum() > 30))

    class Model(BrightLesions, RegionGrower):
        pass

    monkeypatch.setattr("napari_medclipsam.saliency.pair.load", lambda name, device=None: Model())
    # The window needs a process of its own, with the real model: tests/widgets has it.
    monkeypatch.setattr("napari_medclipsam.cli.demo._window_drawn", lambda folder, device: False)
    code, out, err = run("demo", "--headless", tmp_path / "pictures")
    assert code == 0, err
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "brain.nii.gz",
        "mask.png",
        "overview.png",
        "prompts.png",
        "saliency.png",
    ]
    assert "Dice" in out and f"  {tmp_path / 'pictures' / 'brain.nii.gz'}\n" in out


def test_demo_without_a_display_says_what_to_do(run, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, _, err = run("demo")
    assert code == 2 and "--headless" in err
