from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from images import linear_image, mos2, turn
from threadpoolctl import threadpool_info

from benchmarks.columns import separation, true_columns
from benchmarks.peers.compare import compare
from benchmarks.peers.local import LOCAL, Local, ask
from benchmarks.peers.runner import (
    PEERS,
    VERSIONS,
    Environment,
    Peer,
    prepare,
    read_answer,
    run_peer,
    write_query,
)
from benchmarks.peers.specimen import Specimen, white_noise
from library.store import open_libraries
from microscopy.simulation import SimulationOptions, Truth

SHAPE, PIXEL = (150, 190), 0.16
HERE = Environment(Path(sys.executable))


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    structure, origin = mos2(), (1.3, 2.1)
    images = [linear_image(structure, shape=SHAPE, pixel=PIXEL, origin=origin, noise=n)[0] for n in (0.3, 0.0)]
    truth = Truth(structure, turn(17.0), np.array(origin), SimulationOptions())
    noisy = replace(images[0], elements=("Mo", "S"), dose=1e4)
    return Specimen("MoS2", noisy, images[1].image, truth, open_libraries())


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    """Answers with two columns from what it was told; refuses dark images."""
    script = tmp_path / "script.py"
    script.write_text(
        "def answer(query):\n"
        "    if query['image'].mean() < -5:\n"
        "        raise ValueError('too\\ndark')\n"
        "    return [[query['pixel_size'][1], query['pixel_size'][0]], [query['separation'], query['noise']]]\n"
    )
    (tmp_path / "none.txt").write_text("")
    return Peer("fake", "columns", tmp_path / "none.txt", script)


def query(folder: Path, id: str, level: float = 0.0) -> None:
    write_query(folder / f"{id}.npz", np.full((20, 30), level), (0.1, 0.2), 1.5, 0.25)


def environment_at(folder: Path, peer: Peer) -> None:
    """An environment that is this one."""
    home = folder / f"{peer.name}-{peer.environment_digest}"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (home / "bin" / "python").chmod(0o755)
    (home / VERSIONS).write_text('{"fake": "1.0"}')


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_is_pinned_and_scripted(peer) -> None:
    lines = peer.requirements.read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert lines[0].partition("==")[0] == peer.name.lower()
    assert "\ndef answer(query):" in peer.script.read_text()
    assert len({line.partition("==")[0].lower() for line in lines}) == len(lines)


def test_the_digest_depends_on_the_pins_and_on_the_script(peer) -> None:
    environment, answers = peer.environment_digest, peer.digest
    peer.script.write_text("def answer(query):\n    return []\n")
    assert (peer.environment_digest, peer.digest != answers) == (environment, True)
    peer.requirements.write_text("numpy==2.0.0\n")
    assert peer.environment_digest != environment


def test_a_peer_gets_the_image_and_what_is_known_of_it(peer, tmp_path) -> None:
    query(tmp_path / "in", "one")
    assert run_peer(peer, HERE, tmp_path / "in", tmp_path / "out", 60) == ""
    answer = read_answer(peer, tmp_path / "out", "one")
    assert answer.values == pytest.approx(np.array([[0.2, 0.1], [1.5, 0.25]]))
    assert 0 <= answer.seconds < 5
    assert answer.problem == ""


def test_an_image_that_fails_does_not_stop_the_rest_and_is_tried_again(peer, tmp_path) -> None:
    for id, level in (("a", -9.0), ("b", 1.0)):
        query(tmp_path / "in", id, level)
    assert run_peer(peer, HERE, tmp_path / "in", tmp_path / "out", 60) == ""
    failed = read_answer(peer, tmp_path / "out", "a")
    assert (failed.values, failed.problem) == (None, "ValueError: too dark")
    assert read_answer(peer, tmp_path / "out", "b").values is not None
    peer.script.write_text("def answer(query):\n    return [[7.0, 7.0]]\n")
    assert run_peer(peer, HERE, tmp_path / "in", tmp_path / "out", 60) == ""
    assert read_answer(peer, tmp_path / "out", "a").values == pytest.approx(np.array([[7.0, 7.0]]))
    assert read_answer(peer, tmp_path / "out", "b").values.shape == (2, 2)  # the earlier answer stays
    assert list((tmp_path / "out").glob("*.json")) == []


def test_a_peer_that_cannot_start_says_why_in_one_line(peer, tmp_path) -> None:
    query(tmp_path / "in", "one")
    peer.script.write_text("import there_is_no_such_module\n")
    problem = run_peer(peer, HERE, tmp_path / "in", tmp_path / "out", 60)
    assert problem == "failed: ModuleNotFoundError: No module named 'there_is_no_such_module'"
    assert read_answer(peer, tmp_path / "out", "one").problem == "no answer"


def test_a_peer_that_hangs_is_stopped_and_keeps_what_it_has(peer, tmp_path) -> None:
    peer.script.write_text(
        "import time\n\ndef answer(query):\n    if query['image'].mean() > 1:\n        time.sleep(60)\n    return []\n"
    )
    query(tmp_path / "in", "a", 0.0)
    query(tmp_path / "in", "b", 5.0)
    assert run_peer(peer, HERE, tmp_path / "in", tmp_path / "out", 3) == "stopped after 3 s"
    assert read_answer(peer, tmp_path / "out", "a").values is not None
    assert read_answer(peer, tmp_path / "out", "b").values is None


def test_a_damaged_answer_is_a_problem_and_no_crash(peer, tmp_path) -> None:
    (tmp_path / "one.npz").write_bytes(b"PK not an archive")
    assert read_answer(peer, tmp_path, "one").problem.startswith("its answer cannot be read")


def test_an_environment_that_cannot_be_made_is_not_run(peer, tmp_path) -> None:
    peer.requirements.write_text("=== this is no requirement\n")
    environment = prepare(peer, tmp_path / "environments")
    assert environment.python is None
    assert re.fullmatch(r"not run: .*[Ii]nvalid requirement.*", environment.problem)
    assert run_peer(peer, environment, tmp_path, tmp_path / "out", 60) == environment.problem
    assert list((tmp_path / "environments").iterdir()) == []


@pytest.mark.slow
def test_an_environment_is_made_once(peer, tmp_path) -> None:
    made = prepare(peer, tmp_path)
    assert made.problem == ""
    assert made.versions == {}
    assert made.python.exists()
    (made.python.parent / "kept").touch()
    assert prepare(peer, tmp_path).python == made.python
    assert (made.python.parent / "kept").exists()


def test_the_usual_noise_estimate_is_right_for_white_noise() -> None:
    noise = np.random.default_rng(0).normal(scale=0.7, size=(220, 310))
    y, x = np.mgrid[:220, :310]
    assert white_noise(noise + 5 * np.sin(x / 8) * np.cos(y / 9)) == pytest.approx(0.7, rel=0.03)


def test_our_columns_are_the_true_ones(specimen) -> None:
    answer = ask(LOCAL[0], specimen)
    truth = specimen.truth
    distances = np.linalg.norm(true_columns(truth)[:, None] + 3 * truth.cell.sum(axis=0) - answer.values, axis=2)
    assert distances.min(axis=1).max() < 0.03
    assert specimen.separation == pytest.approx(separation(true_columns(truth), truth.cell))


def test_a_gaussian_halves_the_contrast_of_the_closest_columns(specimen) -> None:
    x = np.arange(SHAPE[1]) * PIXEL
    wave = np.broadcast_to(np.cos(2 * np.pi * x / specimen.separation), SHAPE)
    waves = replace(specimen, micrograph=replace(specimen.micrograph, image=wave.astype(np.float32)))
    smooth = ask(next(each for each in LOCAL if each.name == "Gaussian"), waves).values
    assert np.abs(smooth[:, 40:-40]).max() == pytest.approx(0.5, abs=0.03)


def test_every_competitor_gives_a_row_an_image_whatever_happens(specimen, peer, tmp_path) -> None:
    absent = replace(peer, name="absent", kind="denoise", requirements=tmp_path / "bad.txt")
    absent.requirements.write_text("=== this is no requirement\n")
    broken = Local("broken", "denoise", lambda _: 1 / 0)
    undefined = Local("undefined", "columns", lambda _: np.full((4, 2), np.nan))
    wrong = Local("wrong shape", "denoise", lambda _: np.zeros((3, 3)))
    environments = tmp_path / "environments"
    environment_at(environments, peer)
    competitors = (peer, absent, broken, undefined, wrong, *LOCAL)
    rows = list(compare([specimen], tmp_path / "work", competitors=competitors, environments=environments))
    assert [(row["competitor"], row["kind"]) for row in rows] == [(each.name, each.kind) for each in competitors]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    by_name = {f"{row['competitor']} {row['kind']}": row for row in rows}
    assert by_name["fake columns"]["recall"] < 0.05
    assert by_name["absent denoise"]["problem"].startswith("not run: ")
    assert by_name["broken denoise"]["problem"] == "ZeroDivisionError: division by zero"
    assert "cannot be measured" in by_name["wrong shape denoise"]["problem"]
    assert "not all of it is finite" in by_name["undefined columns"]["problem"]
    assert by_name["AutoMat columns"]["recall"] == by_name["AutoMat columns"]["precision"] == 1.0
    assert by_name["AutoMat denoise"]["psnr"] > by_name["as recorded denoise"]["psnr"] + 5
    assert {row["id"] for row in rows} == {"MoS2"}
    assert {row["dose"] for row in rows} == {1e4}


def test_answers_are_kept_and_never_taken_for_those_of_another_image(specimen, peer, tmp_path) -> None:
    environment_at(tmp_path / "environments", peer)
    images = [specimen, replace(specimen, micrograph=replace(specimen.micrograph, image=specimen.micrograph.image + 1))]

    def seconds(specimens: list[Specimen]) -> list[float]:
        rows = compare(specimens, tmp_path / "work", competitors=[peer], environments=tmp_path / "environments")
        return [row["seconds"] for row in rows]

    first = seconds(images[:1])
    both = seconds(images)
    assert both[0] == first[0]
    assert images[0].key != images[1].key
    assert len(list((tmp_path / "work" / "answers").rglob("*.npz"))) == 2


def test_local_competitors_run_as_one_thread(specimen) -> None:
    pools = []
    ask(Local("counts", "denoise", lambda _: pools.extend(threadpool_info())), specimen)
    assert {pool["num_threads"] for pool in pools} == {1}
