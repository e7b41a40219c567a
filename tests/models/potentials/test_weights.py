from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from web_site import Site

from microscopy.errors import PotentialError
from models.potentials import load_potential, registry
from models.potentials.download import Limits
from models.potentials.weights import fetch, fetched, fetched_urls, git_blob

LIMITS = Limits(connect=5.0, stall=5.0, attempts=2, back_off=0.0)
NAME = "mattersim-v1.0.0-5m"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> Path:
    """A machine without MatterSim's weights; the value is where they belong."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AUTOMAT_MATTERSIM_CHECKPOINT", raising=False)
    return tmp_path / ".local" / "mattersim" / "pretrained_models" / "mattersim-v1.0.0-5M.pth"


@pytest.fixture
def published(site: Site, home: Path, tiny_mattersim: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site that publishes the small checkpoint under MatterSim's name."""
    site.content = tiny_mattersim.read_bytes()
    change = {"url": site.url("mattersim-v1.0.0-5M.pth"), "git_blob": git_blob(tiny_mattersim)}
    known = tuple(replace(each, **change) if each.name == NAME else each for each in registry.KNOWN)
    monkeypatch.setattr(registry, "KNOWN", known)
    return site


def sha256(site: Site) -> str:
    return hashlib.sha256(site.content).hexdigest()


def test_git_names_content_so(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"weights\0\xff" * 1000)
    told = subprocess.run(["git", "hash-object", str(path)], capture_output=True, text=True, check=True)
    assert git_blob(path) == told.stdout.strip()


def test_a_name_is_fetched_once_and_used(published: Site, home: Path) -> None:
    with pytest.raises(PotentialError, match=f"automat potentials fetch {NAME}"):
        load_potential(NAME)
    assert fetch("MatterSim-5M", limits=LIMITS) == home
    assert fetch(NAME, limits=LIMITS) == home
    assert len(published.ranges) == 1
    manifest = json.loads(home.with_name(f"{home.name}.json").read_text())
    assert manifest["sha256"] == sha256(published)
    assert manifest["checked_against"].startswith("git blob")
    potential = load_potential(NAME)
    assert (potential.name, potential.checkpoint, potential.fallback) == (NAME, sha256(published), "")


def test_a_name_with_other_content_leaves_nothing(published: Site, home: Path) -> None:
    published.content += b"\0"
    with pytest.raises(PotentialError, match="not the mattersim"):
        fetch(NAME, limits=LIMITS)
    assert list(home.parent.iterdir()) == []


def test_other_content_under_the_name_is_not_overwritten(published: Site, home: Path) -> None:
    home.parent.mkdir(parents=True)
    home.write_bytes(b"mine")
    with pytest.raises(PotentialError, match="away to fetch it again"):
        fetch(NAME, limits=LIMITS)
    assert home.read_bytes() == b"mine"


def test_an_interrupted_name_is_resumed(published: Site, home: Path) -> None:
    published.script = [published.cut(20_000)]
    with pytest.raises(PotentialError, match="without a network: copy that file to"):
        fetch(NAME, limits=replace(LIMITS, attempts=1))
    assert fetch(NAME, limits=LIMITS) == home
    assert published.ranges == [None, "bytes=20000-"]


def test_weights_in_a_package_need_no_fetching(home: Path) -> None:
    assert fetch("sevennet-0") == load_potential("sevennet-0").path


@pytest.mark.parametrize("wanted", ["mace-mp-0", "ftp://host/weights.pth", "weights.pth"])
def test_only_what_is_known_or_has_a_url_is_fetched(wanted: str, home: Path) -> None:
    with pytest.raises(PotentialError, match="unknown potential"):
        fetch(wanted)


def test_a_url_is_fetched_once_and_used(published: Site, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = published.url("tuned.pth?download=1")
    with pytest.raises(PotentialError, match="automat potentials fetch http"):
        load_potential(url)
    path = fetch(url, sha256(published).upper(), limits=LIMITS)
    assert fetch(url, sha256(published), limits=LIMITS) == path
    assert len(published.ranges) == 1
    assert path.name == "tuned.pth"
    assert fetched_urls() == [url]
    assert load_potential(url).checkpoint == sha256(published)

    monkeypatch.setattr(registry, "KNOWN", ())
    assert load_potential(url).name == "mattersim:tuned"
    with pytest.raises(PotentialError, match="it is not used"):
        fetch(url, "0" * 64)


def test_a_url_needs_a_digest_or_trust(published: Site, home: Path) -> None:
    url = published.url()
    with pytest.raises(PotentialError, match="--trust"):
        fetch(url, limits=LIMITS)
    assert published.ranges == []
    path = fetch(url, trust=True, limits=LIMITS)
    manifest = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert (manifest["sha256"], manifest["url"]) == (sha256(published), url)
    assert manifest["checked_against"] == "nothing: trusted on first use"

    path.write_bytes(path.read_bytes() + b"\0")
    for use in (lambda: load_potential(url), lambda: load_potential(str(path)), lambda: fetched(url)):
        with pytest.raises(PotentialError, match="has changed since it was fetched"):
            use()


@pytest.mark.parametrize("digest", ["0" * 64, "12ab", "z" * 64, ""])
def test_a_wrong_digest_leaves_nothing(digest: str, published: Site, home: Path, cache: Path) -> None:
    with pytest.raises(PotentialError, match="sha256"):
        fetch(published.url(), digest, limits=LIMITS)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_page_instead_of_weights_leaves_nothing(site: Site, home: Path, cache: Path) -> None:
    site.content = b"<html>Please log in</html>"
    with pytest.raises(PotentialError, match="not a MatterSim checkpoint"):
        fetch(site.url(), trust=True, limits=LIMITS)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_equal_file_names_are_kept_apart(published: Site, home: Path) -> None:
    paths = {fetch(published.url(f"{folder}/weights.pth"), trust=True, limits=LIMITS) for folder in ("a", "b")}
    assert len(paths) == 2


def test_a_damaged_manifest_is_said(published: Site, home: Path) -> None:
    path = fetch(published.url(), trust=True, limits=LIMITS)
    path.with_name(f"{path.name}.json").write_text("{")
    with pytest.raises(PotentialError, match="cannot be read"):
        load_potential(published.url())
    assert fetched_urls() == []
