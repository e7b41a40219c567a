"""A drop of mixed files through PostgreSQL, a real server and three workers, each a process of its own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from faults import drops
from faults.lab import ELSEWHERE, Installation, comparable, results_of, until

from intake.records import State

pytestmark = pytest.mark.slow

GOOD = 8


def fill(drop: Path) -> int:
    """Thirty files and a few folders; returns how many files."""
    for name in ("sulfide", "carbon"):
        (drop / name).mkdir()
    (drop / "sulfide/automat.toml").write_text('elements = "Mo,S"\n')
    for number in range(GOOD):
        folder = "carbon" if number % 2 else "sulfide"
        path = drops.write(drop / folder / f"image {number}.tif", number)
        if number % 2:
            path.with_name(f"{path.name}.json").write_text(json.dumps({"elements": ["C"], "Instrument": {"kV": 80}}))
    for number in range(4):
        original = next(drop.rglob(f"image {number}.tif"))
        (original.parent / f"copy of {number}.tif").write_bytes(original.read_bytes())
    for name, make in drops.BAD.items():
        make(drop / name)
    (drop / "notes.txt").write_text("night shift")
    (drop / "empty.tif").touch()
    (drop / "out.tif").symlink_to("/etc/hostname")
    (drop / "text.tif.toml").write_text('unknown = "key"\n')
    return sum(1 for path in drop.rglob("*") if path.is_symlink() or path.is_file())


def alone(lab: Installation, out: Path) -> dict[str, dict[str, object]]:
    """Results of ``automat reconstruct`` on the same files, with a cache of its own and no server."""
    cache = lab.folder / "other cache"
    for folder, elements in (("sulfide", "Mo,S"), ("carbon", "C"), (".", "")):
        files = [str(path) for path in sorted((lab.drop / folder).glob("*")) if path.name != "out.tif"]
        files = [each for each in files if Path(each).suffix in (".tif", ".npy", ".npz", ".png") and "copy" not in each]
        known = ["--elements", elements] if elements else []
        lab.automat("reconstruct", *files, *drops.OPTIONS, *known, "--out", str(out), cache=cache)
    return results_of(out)


def test_thirty_mixed_files_through_three_workers() -> None:
    with Installation(drops.OPTIONS) as lab:
        count = fill(lab.drop)
        assert count == 30
        lab.start()
        until(lambda: lab.settled(count), "every file has its end", 900)

        files, contents = lab.files(), lab.contents()
        assert len(files) == count
        assert Counter(state for state, _, _ in files.values()) == {
            "known": GOOD + 4 + len(drops.BAD),
            "ignored": 1 + 2 + GOOD // 2,  # notes, other metadata, sidecars of images
            "refused": 2,
        }
        assert len(contents) == GOOD + len(drops.BAD)
        failed = {each.name for each in contents.values() if each.state is State.FAILED}
        assert failed == set(drops.BAD)
        assert all(each.reason for each in contents.values() if each.state is State.FAILED)

        results = {sha256: lab.result(each) for sha256, each in contents.items() if each.state is State.DONE}
        assert {result["structure"]["formula"] for result in results.values()} == {"MoS2", "C"}
        assert not [each for result in results.values() for each in result["warnings"] if each.endswith(ELSEWHERE)]
        runs = [run for run in lab.runs("step") if run["state_type"] == "COMPLETED"]
        done = Counter((run["parameters"]["step"], run["work_pool_name"]) for run in runs)
        assert done["denoise", "automat-gpu"] >= GOOD
        assert done["retrieve", "automat-library"] >= GOOD
        assert done["relax", "automat-gpu"] >= GOOD

        lab.rest()
        out = lab.folder / "alone"
        expected = alone(lab, out)
        for sha256, result in results.items():
            assert comparable(result) == comparable(expected[sha256])
            folder = Path(str(contents[sha256].folder))
            (other,) = out.glob(f"*{folder.name[-9:]}")
            assert (lab.out / folder / "structure.cif").read_bytes() == (other / "structure.cif").read_bytes()
