"""Poison in the folder: refused or failed with a reason, the queue moves on, nothing is written elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from faults import drops, poison
from faults.lab import Installation, until

from intake.records import State

pytestmark = pytest.mark.slow

GOOD = 4
MOST = 1500
"""Megabytes of memory that a process may have had at most; ordinary images take about 500."""


def fill(drop: Path) -> int:
    """Poison, good files before, between and after it; returns how many."""
    for name, make in {**poison.REFUSED, **poison.FAILED, **poison.SIDECARS}.items():
        make(drop / name)
    for number, name in enumerate(sorted({name.rpartition(".")[0] for name in poison.SIDECARS})):
        drops.write(drop / name, 100 + 2 * number)
    for number in range(GOOD):
        drops.write(drop / f"good {number}.tif", 2 * number)
    (drop / "inside.tif").symlink_to("good 0.tif")
    (drop / "automat.toml").write_text('elements = "Mo,S"\n')
    return len(list(drop.iterdir()))


def listing(folder: Path, without: set[Path]) -> dict[str, str]:
    """Everything below a folder, with the contents of small files."""
    found: dict[str, str] = {}
    for base, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(base, name) not in without]
        for name in files:
            path = Path(base, name)
            status = path.lstat()
            small = path.is_file() and not path.is_symlink() and status.st_size < poison.MEGA
            content = hashlib.sha256(path.read_bytes()).hexdigest() if small else ""
            found[os.fspath(path)] = f"{status.st_mode} {status.st_size} {content}"
    return found


def peak(pid: int) -> float:
    """Megabytes that a process had at most."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def test_poison_is_refused_and_the_queue_moves_on() -> None:
    with Installation((*drops.OPTIONS, "--no-relax")) as lab:
        count = fill(lab.drop)
        lab.drop.chmod(0o777)
        ours = {lab.folder / name for name in ("store", "logs", "database", "server", "client", "tmp")}
        before = listing(lab.folder, ours)
        lab.start()
        until(lambda: lab.settled(count), "every file has its end", 900)

        memory = {each.pid: peak(each.pid) for part in (*lab.workers, lab.watcher) for each in part.processes()}
        print("megabytes at most:", sorted(round(each) for each in memory.values()))
        files, contents = lab.files(), lab.contents()
        for name in poison.REFUSED:
            state, reason, _ = files[name]
            assert (state, bool(reason)) == ("refused", True), name
        by_name = {each.path: each for each in contents.values()}
        for name in [*poison.FAILED, *{name.rpartition(".")[0] for name in poison.SIDECARS}]:
            each = by_name[name]
            assert each.state is State.FAILED, (name, each)
            assert each.reason
            assert "Traceback" not in each.reason
            assert "its worker died" not in each.reason, (name, each.reason)
        done = {each.name for each in contents.values() if each.state is State.DONE}
        assert done == {f"good {number}.tif" for number in range(GOOD)}
        assert files["inside.tif"][2] == files["good 0.tif"][2]

        assert listing(lab.folder, ours) == before
        assert not [name for name in (lab.folder / "tmp").iterdir() if "unpickled" in name.name]
        for path in lab.out.iterdir():
            assert path.name.isprintable()
        assert max(memory.values()) < MOST

        told = lab.automat("status", str(lab.out), "--last", "0").stdout
        assert "anybody on this machine may put files here" in told
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", told)
        look = json.loads(lab.automat("status", str(lab.out), "--json").stdout)
        assert not look["trouble"]
        shutil.rmtree(lab.drop)
