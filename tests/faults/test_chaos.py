"""Files keep coming while everything dies in turn: every one of them gets its one answer, the one it would have got."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest
from faults import drops
from faults.lab import Installation, comparable, results_of, until

from intake.records import State

pytestmark = pytest.mark.slow

SEED = 8
GOOD = 60
"""Images that differ; `COPIES` come again under another name, and `BROKEN` are no images (nine that differ)."""

COPIES = 101
BROKEN = 39
KILLS = 10
"""Workers killed; besides, the server twice, the database, the watcher, and a full disk."""

DISK = 3 << 30
"""Bytes of the disk that results and cache are on."""

FINISH_WITHIN = 1100.0
"""Seconds."""

FILES = GOOD + COPIES + BROKEN


def plan(random_: random.Random) -> list[tuple[str, int]]:
    """What is dropped, in order: kind and number. A copy comes after its original."""
    order = [("good", n) for n in range(GOOD)]
    order += [("copy", n) for n in range(COPIES)]
    order += [("bad", n) for n in range(BROKEN)]
    random_.shuffle(order)
    return order


def drop(lab: Installation, kind: str, number: int) -> None:
    """Write one file: a good one, a copy of one that may not even be there yet, or a bad one."""
    if kind == "bad":
        names = sorted(drops.BAD)
        drops.BAD[names[number % len(names)]](lab.drop / f"{number} {names[number % len(names)]}")
        return
    original = number % GOOD
    name = f"image {original}.tif" if kind == "good" else f"copy {number} of {original}.tif"
    folder = lab.drop / ("carbon" if original % 2 else "sulfide")
    drops.write(folder / name, original)


@contextmanager
def dropping(lab: Installation, order: list[tuple[str, int]], seconds: float) -> Any:
    """Drop everything meanwhile, evenly over some seconds."""
    done = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            for kind, number in order:
                drop(lab, kind, number)
                if done.wait(seconds / len(order)):
                    return
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
        thread.join()
    finally:
        done.set()
        thread.join()
    assert not failed, failed


class Chaos:
    """What is broken, one after the other; each returns when the broken part is up again."""

    def __init__(self, lab: Installation, random_: random.Random) -> None:
        self.lab, self.random = lab, random_
        self.done: list[str] = []

    def worker(self) -> None:
        """SIGKILL: of a worker with its processes, of the worker alone, or of one process that runs something."""
        part = self.random.choice(self.lab.workers)
        way = self.random.choice(("all", "alone", "slot"))
        slots = part.slots()
        if way == "slot" and slots:
            with suppress(psutil.Error):
                self.random.choice(slots).kill()
        else:
            way = "all" if way == "slot" else way
            (part.kill if way == "all" else part.kill_alone)()
            part.start()
        self._note(f"{part.name} worker: {way}")

    def server(self, kill: bool) -> None:
        (self.lab.server.kill if kill else self.lab.server.stop)()
        self.lab.server.start()
        until(self.lab.healthy, "the server answers again")
        self._note(f"server: {'SIGKILL' if kill else 'SIGINT'}")

    def database(self) -> None:
        assert self.lab.database is not None
        self.lab.database.stop("immediate")
        self.lab.database.start()
        self._note("database: immediate shutdown")

    def watcher(self) -> None:
        self.lab.watcher.kill()
        self.lab.watcher.start()
        self._note("watcher: SIGKILL")

    def disk(self) -> None:
        """Fill the disk to the last byte, until a pass has met that; then free it."""
        disk = self.lab.disk
        assert disk is not None
        if not disk.real:
            self._note("disk: left out, this user may not mount one")
            return
        met = len(self._met())
        disk.fill()
        until(lambda: len(self._met()) > met, "a pass has met the full disk")
        disk.free()
        self._note("disk: full, then free")

    def _met(self) -> list[str]:
        """Passes that told of a full disk."""
        with suppress(Exception):
            runs = self.lab.runs("drop-folder")
            return [run["id"] for run in runs if _full(str((run["state"] or {}).get("message")))]
        return []

    def _note(self, what: str) -> None:
        self.done.append(what)
        print(f"{time.strftime('%H:%M:%S')} {what}; {_counts(self.lab)}", flush=True)


def _full(message: str) -> bool:
    return "MiB are free" in message or "No space left" in message or "disk is full" in message


def _counts(lab: Installation) -> dict[str, int]:
    with suppress(Exception):
        return dict(Counter(str(each.state) for each in lab.contents().values()))
    return {}


def faults(chaos: Chaos, random_: random.Random) -> list[Callable[[], None]]:
    """All that is to happen, in an order that the seed decides."""
    others: list[Callable[[], None]] = [
        lambda: chaos.server(kill=False),
        lambda: chaos.server(kill=True),
        chaos.database,
        chaos.disk,
        chaos.watcher,
    ]
    planned = [chaos.worker] * KILLS + others
    random_.shuffle(planned)
    return planned


def progressed(lab: Installation) -> Callable[[], bool]:
    """Whether something has been finished since: a fault must meet work, and not a start-up."""
    before = _ended(lab)
    return lambda: _ended(lab) > before or lab.settled(FILES)


def _ended(lab: Installation) -> int:
    with suppress(Exception):
        return sum(each.state in (State.DONE, State.FAILED) for each in lab.contents().values())
    return 0


def quiet(lab: Installation) -> dict[str, dict[str, Any]]:
    """Results of the same images where nothing is broken: in one process, with a cache of its own."""
    out = lab.folder / "quiet"
    for folder, elements in (("sulfide", "Mo,S"), ("carbon", "C")):
        files = [str(path) for path in sorted((lab.drop / folder).glob("image *.tif"))]
        arguments = [*drops.OPTIONS, "--elements", elements, "--no-relax", "--out", str(out)]
        lab.automat("reconstruct", *files, *arguments, cache=lab.folder / "quiet cache")
    return results_of(out)


def test_nothing_is_lost_and_nothing_is_done_twice() -> None:
    random_ = random.Random(SEED)
    with Installation((*drops.OPTIONS, "--no-relax"), disk=DISK) as lab:
        for name, elements in (("sulfide", "Mo,S"), ("carbon", "C")):
            (lab.drop / name).mkdir()
            (lab.drop / name / "automat.toml").write_text(f'elements = "{elements}"\n')
        lab.start()
        chaos = Chaos(lab, random_)
        began = time.monotonic()
        with dropping(lab, plan(random_), 240):
            for fault in faults(chaos, random_):
                until(progressed(lab), "the work goes on", FINISH_WITHIN)
                fault()
        until(lambda: lab.settled(FILES + 2), "every file has its end", FINISH_WITHIN)
        print(f"{FILES} files in {time.monotonic() - began:.0f} s: {Counter(chaos.done)}")
        check(lab)


def check(lab: Installation) -> None:
    files, contents = lab.files(), lab.contents()
    there = {path.relative_to(lab.drop).as_posix() for path in lab.drop.rglob("*") if path.is_file()}
    assert set(files) == there
    known = [sha256 for state, _, sha256 in files.values() if state == "known"]
    assert set(known) == set(contents)  # the digest is the key: one row for each content
    done = {sha256: each for sha256, each in contents.items() if each.state is State.DONE}
    failed = {sha256: each for sha256, each in contents.items() if each.state is State.FAILED}
    assert len(done) == GOOD, [(each.name, each.reason) for each in failed.values()]
    assert not [each.reason for each in failed.values() if "its worker died" in each.reason]

    markers = Counter(path.stem for path in (lab.out / ".automat/finished").glob("*.json"))
    assert set(markers) >= {f"{sha256}-0" for sha256 in done}
    folders = Counter(each.folder for each in done.values())
    assert set(folders.values()) == {1}
    assert {path.parent.name for path in lab.out.glob("*/result.json")} >= set(folders)

    computed = Counter(run["parameters"]["key"] for run in ended(lab))
    assert not [key for key, times in computed.items() if times > 1]

    lab.rest()
    expected = quiet(lab)
    for sha256, each in done.items():
        assert comparable(lab.result(each)) == comparable(expected[sha256]), each.name
        assert each.status == expected[sha256]["status"]


def ended(lab: Installation) -> list[dict[str, Any]]:
    """Runs that computed a content to the end: they came to an end by themselves, and showed a result."""
    shown = {each["flow_run_id"] for each in artifacts(lab) if str(each["key"]).endswith("-result")}
    return [
        run
        for run in lab.runs("reconstruct-file")
        if run["state_type"] in ("COMPLETED", "FAILED") and run["id"] in shown
    ]


def artifacts(lab: Installation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while part := lab.api("artifacts/filter", limit=200, offset=len(found), sort="ID_DESC"):
        found += part
    return found
