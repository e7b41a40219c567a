from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import fake_run
import numpy as np
import pytest
from pymatgen.core import Structure

from planning.records import Status
from tasks.assembly import RunFiles
from tasks.store import Ref, StoreError, load, save

RECORDS = [
    fake_run.micrograph,
    fake_run.denoised,
    fake_run.candidates,
    fake_run.reconstruction,
    fake_run.relaxation,
    fake_run.verdict,
]


def same(a: Any, b: Any) -> bool:
    """Equality to the last bit, types included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, Structure):
        return (
            a.lattice.pbc == b.lattice.pbc
            and a.species == b.species
            and np.array_equal(a.lattice.matrix, b.lattice.matrix)
            and np.array_equal(a.frac_coords, b.frac_coords)
        )
    if is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b) or a is b


@pytest.mark.parametrize("make", RECORDS, ids=lambda make: make.__name__)
def test_every_record_comes_back_to_the_last_bit(make: Any, cache: Path) -> None:
    record = make()
    ref = save(record)
    assert ref.kind == type(record).__name__
    assert cache in ref.path.parents
    assert same(load(ref), record)


def test_bytes_text_none_and_infinity_come_back(cache: Path) -> None:
    record = RunFiles({"a": [1, None, float("inf")], "$": "tag"}, "data_α", None, ("x",), b"\x00\xff", None, b"")
    assert same(load(save(record)), record)


def test_equal_contents_have_one_digest_and_one_file(cache: Path) -> None:
    first, second = save(fake_run.relaxation()), save(fake_run.relaxation())
    assert first == second
    assert len(list(cache.rglob("*.npz"))) == 1


def test_a_changed_bit_changes_the_digest_and_memory_layout_does_not(cache: Path) -> None:
    micrograph = fake_run.micrograph()
    image = micrograph.image.copy()
    image[3, 5] = np.nextafter(image[3, 5], np.float32(np.inf))
    changed = save(replace(micrograph, image=image))
    turned = save(replace(micrograph, image=np.asfortranarray(micrograph.image)))
    assert changed.digest != save(micrograph).digest
    assert turned.digest == save(micrograph).digest


def test_names_and_notices_are_no_part_of_an_images_identity(cache: Path) -> None:
    micrograph = fake_run.micrograph()
    renamed = replace(micrograph, source="/elsewhere/other.tif", notices=("told",), metadata={"by": "me"})
    assert save(renamed).digest == save(micrograph).digest
    assert save(replace(micrograph, dose=2e4)).digest != save(micrograph).digest


def test_a_missing_record_is_named(cache: Path) -> None:
    with pytest.raises(StoreError, match="is gone"):
        load(Ref("Verdict", "0" * 64))


@pytest.mark.parametrize("damage", ["truncate", "alter"])
def test_a_damaged_record_is_refused_and_removed(damage: str, cache: Path) -> None:
    ref = save(fake_run.verdict())
    if damage == "truncate":
        ref.path.write_bytes(ref.path.read_bytes()[:-40])
    else:
        other = save(fake_run.verdict(Status.REJECTED))
        ref.path.write_bytes(other.path.read_bytes())
    with pytest.raises(StoreError, match="damaged"):
        load(ref)
    assert not ref.path.exists()


def test_a_file_cannot_name_a_foreign_class(cache: Path) -> None:
    ref = save(fake_run.verdict())
    with zipfile.ZipFile(ref.path, "w") as archive:
        archive.writestr("record.json", '{"$":"record","type":"pathlib:Path","fields":{}}')
    with pytest.raises(StoreError, match="damaged"):
        load(ref)


def test_what_cannot_be_stored_is_refused_and_leaves_nothing(cache: Path) -> None:
    @dataclass(frozen=True)
    class Odd:
        value: Any

    for value in (object(), np.array([object()]), {1: 2}, Path("x")):
        with pytest.raises(StoreError, match="cannot store"):
            save(Odd(value))
    assert not list(cache.rglob("*"))


def test_a_cache_that_cannot_be_written_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AUTOMAT_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match="AUTOMAT_CACHE"):
        save(fake_run.verdict())


def test_enumerations_keep_their_class(cache: Path) -> None:
    assert isinstance(load(save(fake_run.verdict())).status, Status)
    assert issubclass(Status, Enum)
