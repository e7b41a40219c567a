from __future__ import annotations

import os
import time
from pathlib import Path

import fake_run
import pytest

from tasks import upkeep
from tasks.store import GoneError, load, save
from tasks.upkeep import DAY, Amount, prune

NOW = time.time()


def entry(path: Path, days: float, size: int = 5000) -> Path:
    """A file that was used some days ago; what it takes on the disk is 8192 bytes or so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    return path


def record(cache: Path, name: str, days: float, kind: str = "Denoised", size: int = 5000) -> Path:
    return entry(cache / "records" / kind / name[:2] / f"{name}.npz", days, size)


def taken(*paths: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in paths)


def test_what_nobody_used_for_long_goes_and_the_kinds_are_told(cache: Path) -> None:
    old, young = record(cache, "aa1", 31), record(cache, "aa2", 29)
    other = record(cache, "bb1", 40, "Verdict")
    result = entry(cache / "results" / "automat-verify-cc", 40)
    sizes = {"Denoised": taken(old), "Verdict": taken(other), upkeep.RESULTS: taken(result)}
    left = Amount(1, taken(young))
    done = prune(older_than=30 * DAY, now=NOW)
    assert done.removed == {kind: Amount(1, size) for kind, size in sizes.items()}
    assert done.freed == sum(sizes.values())
    assert (done.kept, done.young, done.troubles) == (left, Amount(), ())
    assert [old.exists(), other.exists(), result.exists(), young.exists()] == [False, False, False, True]


def test_the_least_recently_used_goes_until_the_rest_fits(cache: Path) -> None:
    files = [record(cache, f"aa{days}", days) for days in (2, 3, 4, 5)]
    prune(keep=taken(*files[:2]), now=NOW)
    assert [path.exists() for path in files] == [True, True, False, False]
    prune(keep=taken(*files[:2]), now=NOW)
    assert [path.exists() for path in files[:2]] == [True, True]
    prune(older_than=100 * DAY, keep=taken(files[0]), now=NOW)
    assert [path.exists() for path in files[:2]] == [True, False]


def test_what_was_used_within_a_day_stays_whatever_is_asked_for(cache: Path) -> None:
    young, old = record(cache, "aa1", 0.9), record(cache, "aa2", 1.1)
    done = prune(older_than=0.0, keep=0, now=NOW)
    assert young.exists()
    assert not old.exists()
    assert done.young == done.kept == Amount(1, taken(young))


def test_a_dry_run_says_the_same_and_removes_nothing(cache: Path) -> None:
    files = [record(cache, f"aa{days}", days) for days in (2, 30, 60)]
    said = prune(older_than=10 * DAY, now=NOW, dry_run=True)
    assert all(path.exists() for path in files)
    assert prune(older_than=10 * DAY, now=NOW) == said
    assert said.removed["Denoised"].files == 2


def test_only_what_steps_computed_is_ever_removed(cache: Path, tmp_path: Path) -> None:
    precious = [
        entry(cache / place, 400)
        for place in (
            "potentials/mattersim.pth",
            "references/v1/x/Mo.json",
            "planner/llm.jsonl",
            "server/prefect.db",
            "bench/libraries/index",
            "sources/c2db.db",
            "workers/here.json",
            ".automat/claims/x",
        )
    ]
    run = entry(tmp_path / "drop-results" / "flake-1" / "report.html", 400)
    ledger = entry(tmp_path / "drop-results" / "ledger.sqlite", 400)
    record(cache, "aa", 400)
    assert list(prune(older_than=DAY, keep=0, now=NOW).removed) == ["Denoised"]
    assert all(path.exists() for path in (*precious, run, ledger))


def test_links_are_neither_followed_nor_removed(cache: Path, tmp_path: Path) -> None:
    outside = entry(tmp_path / "outside" / "aa" / "precious.npz", 400)
    folder = cache / "records" / "Denoised"
    folder.mkdir(parents=True)
    (folder / "aa").symlink_to(outside.parent)
    (folder / "one.npz").symlink_to(outside)
    os.link(outside, folder / "hard.npz")
    (cache / "results").symlink_to(outside.parent)
    done = prune(older_than=DAY, now=NOW)
    assert done.removed == {"Denoised": Amount(1, taken(outside))}
    assert outside.exists()
    assert (folder / "one.npz").is_symlink()


def test_results_that_were_moved_may_lie_among_those_of_others(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_RESULTS_LOCAL_STORAGE_PATH", str(tmp_path / "storage"))
    ours, theirs = (entry(tmp_path / "storage" / name, 400) for name in ("automat-relax-aa", "someone-elses"))
    prune(older_than=DAY, now=NOW)
    assert not ours.exists()
    assert theirs.exists()


def test_an_entry_that_is_used_meanwhile_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process asks for an entry after it was found to be the oldest."""
    oldest, newer = record(cache, "aa1", 9), record(cache, "aa2", 2)
    by_size = upkeep._by_size

    def used_after(keep: int | None) -> float:
        last = by_size(keep)
        os.utime(oldest)
        return last

    monkeypatch.setattr(upkeep, "_by_size", used_after)
    prune(keep=taken(newer), now=NOW)
    assert oldest.exists()
    assert newer.exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may remove everything")
def test_what_cannot_be_removed_is_told(cache: Path) -> None:
    path = record(cache, "aa1", 9)
    path.parent.chmod(0o500)
    try:
        done = prune(older_than=DAY, now=NOW)
    finally:
        path.parent.chmod(0o700)
    assert done.troubles == ("some Denoised cannot be removed: Permission denied",)
    assert done.kept.files == 1


def test_an_empty_cache_is_nothing_to_prune(cache: Path) -> None:
    assert prune(older_than=DAY, keep=0).freed == 0


def test_a_record_that_was_pruned_is_gone_and_can_be_made_again(cache: Path) -> None:
    ref = save(fake_run.verdict())
    os.utime(ref.path, (NOW - 9 * DAY, NOW - 9 * DAY))
    prune(older_than=DAY)
    with pytest.raises(GoneError):
        load(ref)
    assert load(save(fake_run.verdict())).status
