"""Who may write."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace

from napari_medclipsam.projects.locking import FileLock, Owner, read_owner

HOLD = (
    "import sys, time; from pathlib import Path; from napari_medclipsam.projects.locking import FileLock, Owner\n"
    "lock = FileLock.acquire(Path(sys.argv[1]), Owner.here('ben')); print('held', flush=True); time.sleep(60)\n"
)


def test_the_second_is_told_who_has_it_and_a_dead_owner_is_followed(tmp_path):
    path = tmp_path / "lock.json"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    owner = FileLock.acquire(path, Owner.here("ana"))
    assert isinstance(owner, Owner) and owner.reader == "ben" and owner.pid == holder.pid
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert read_owner(path) == owner
    lock = FileLock.acquire(path, Owner.here("ana"))
    assert isinstance(lock, FileLock) and read_owner(path).reader == "ana"
    lock.release()
    assert read_owner(path) is None and isinstance(FileLock.acquire(path, Owner.here("ana")), FileLock)


def test_a_lock_that_another_host_left_is_not_taken(tmp_path):
    path = tmp_path / "lock.json"
    other = replace(Owner.here("ben"), host="another")
    path.write_text(json.dumps(asdict(other)))
    assert FileLock.acquire(path, Owner.here("ana")) == other
    path.unlink()
    lock = FileLock.acquire(path, Owner.here("ana"))
    assert isinstance(lock, FileLock)
    lock.release()
