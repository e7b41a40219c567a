from __future__ import annotations

import errno
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from microscopy.errors import ReadError
from microscopy.micrograph import Modality
from microscopy.readers import ReadOptions
from models.denoising import DenoiseOptions
from tasks import caching
from tasks.caching import Aside, LibraryRef, PotentialRef, SourceFile, cache_key
from tasks.steps import transient
from tasks.store import Ref, StoreError


def key(**parameters: object) -> str:
    return cache_key("step")(None, parameters)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SourceFile(Path("/a/x.tif"), "1f"), SourceFile(Path("/b/y.TIF"), "1f")),
        (LibraryRef(("/a",), "2e"), LibraryRef(("/b", "/c"), "2e")),
        (PotentialRef("m.pth", "m", "3d"), PotentialRef("/else/m.pth", "m", "3d")),
        (Ref("Verdict", "4c", 1.0), Ref("Verdict", "4c", 2.0)),
        (Aside({"relax": 1.0}), Aside({"relax": 2.0})),
        (ReadOptions(elements=("Mo", "S")), ReadOptions(elements=("Mo", "S"))),
    ],
)
def test_paths_times_and_labels_do_not_change_a_key(one: object, other: object) -> None:
    assert key(value=one) == key(value=other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (SourceFile(Path("x.tif"), "1f"), SourceFile(Path("x.tif"), "1e")),
        (SourceFile(Path("x.tif"), "1f"), SourceFile(Path("x.png"), "1f")),
        (LibraryRef((), "2e"), LibraryRef((), "2f")),
        (PotentialRef(None, "m", "3d"), PotentialRef(None, "m", "3e")),
        (Ref("Verdict", "4c"), Ref("Verdict", "4d")),
        (ReadOptions(), ReadOptions(dose=1e4)),
        (ReadOptions(dose=1e4), ReadOptions(dose=1e4 + 1e-9)),
        (ReadOptions(), ReadOptions(modality=Modality.IDPC)),
        (1.0, "1.0"),
        (None, 0),
    ],
)
def test_whatever_a_result_depends_on_changes_the_key(one: object, other: object) -> None:
    assert key(value=one) != key(value=other)


def test_the_step_and_the_code_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {cache_key(name)(None, {"x": 1}) for name in ("relax", "verify")}
    monkeypatch.setattr(caching, "code_digest", lambda: "another version")
    keys |= {cache_key(name)(None, {"x": 1}) for name in ("relax", "verify")}
    assert len(keys) == 4


def test_any_change_of_code_or_coefficients_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tasks/caching.py", "planning/confidence.json", "planning/verify.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(caching, "__file__", str(tmp_path / "tasks" / "caching.py"))

    def digest() -> str:
        caching.code_digest.cache_clear()
        return caching.code_digest()

    try:
        before = digest()
        assert digest() == before
        (tmp_path / "planning" / "confidence.json").write_text("other")
        changed = digest()
        (tmp_path / "planning" / "verify.py").rename(tmp_path / "planning" / "checks.py")
        assert len({before, changed, digest()}) == 3
    finally:
        caching.code_digest.cache_clear()


def test_every_field_of_the_options_counts() -> None:
    @dataclass(frozen=True)
    class Options:
        a: int = 1
        b: tuple[float, ...] = (1.0,)

    assert len({key(o=o) for o in (Options(), replace(Options(), a=2), replace(Options(), b=(1.0, 2.0)))}) == 3


def test_weights_count_by_their_digest_and_not_by_their_folder() -> None:
    one, other = (key(options=DenoiseOptions("moe", weights=Path(folder)), digest="d") for folder in ("a", "b"))
    assert one == other
    assert key(options=DenoiseOptions("moe", 2.0), digest="d") != one
    assert key(options=DenoiseOptions("moe"), digest="e") != one


@pytest.mark.parametrize("value", [Path("x"), object()])
def test_what_has_no_content_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be part of a cache key"):
        key(value=value)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError(errno.EIO, "i/o"), True),
        (TimeoutError(errno.ETIMEDOUT, "slow"), True),
        (caused(ReadError("x.tif: i/o"), OSError(errno.ESTALE, "stale")), True),
        (OSError(errno.ENOSPC, "full"), False),
        (FileNotFoundError(errno.ENOENT, "none"), False),
        (caused(StoreError("full"), OSError(errno.ENOSPC, "full")), False),
        (ReadError("x.tif: not an image"), False),
        (MemoryError(), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, again: bool) -> None:
    assert transient(None, None, SimpleNamespace(data=error)) is again
