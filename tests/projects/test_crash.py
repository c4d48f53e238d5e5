"""A few of the kills of benchmarks/crash.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "crash.py"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_killed_at_random_moments_nothing_is_lost():
    done = subprocess.run([sys.executable, str(SCRIPT), "--rounds", "15"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost; the project opened every time" in done.stdout
