from __future__ import annotations

from importlib import metadata

import pytest

from flows.doctor import packages
from flows.doctor.finding import State


def having(**versions: str | None) -> packages.Installed:
    return lambda package: versions.get(package, packages.installed_version(package))


def test_this_environment_is_as_it_should_be() -> None:
    assert packages.python().state is State.OK
    assert packages.ranges().state is State.OK
    assert [each.state for each in packages.traps()] == [State.OK]
    assert packages.twins().state is State.OK


@pytest.mark.parametrize(("version", "state"), [("3.10.14", "broken"), ("3.11.0", "ok"), ("3.14.0rc1", "ok")])
def test_an_old_python_is_refused(version: str, state: str) -> None:
    assert packages.python(version).state == state


def test_what_is_out_of_range_or_missing_is_named_with_what_to_install() -> None:
    found = packages.ranges(having(fastapi="0.165.0", abtem=None))
    assert found.state is State.BROKEN
    assert "fastapi 0.165.0" in found.text
    assert "abtem is missing" in found.text
    assert "'fastapi<0.151,>=0.139' 'abtem>=1.0.11'" in found.remedy


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        ({"fastapi": "0.151.0"}, "fastapi 0.151.0: Prefect's server"),
        ({"fastapi": "0.155.0", "prefect": "3.8.8"}, "fastapi 0.155.0"),
        ({"prefect": "3.9.1", "certifi": "2026.10.18"}, "certifi 2026.10.18"),
        ({"prefect": "3.8.3"}, "jitter"),
        ({"abtem": "1.0.10"}, "loses atoms"),
        ({"mattersim": "1.2.4", "python": "3.11.9"}, "Python 3.12"),
    ],
)
def test_each_trap_is_sprung(versions: dict[str, str], told: str) -> None:
    (found,) = packages.traps(having(**versions))
    assert found.state is State.BROKEN
    assert told in found.text
    assert found.remedy.startswith("pip install ")


@pytest.mark.parametrize(
    "versions",
    [
        {"fastapi": "0.150.9"},
        {"fastapi": "0.165.0", "prefect": None},
        {"prefect": "3.9.1", "certifi": "2026.10.19"},
        {"mattersim": "1.2.4", "python": "3.12.0"},
        {"mattersim": None},
        {"torch": "2.13.0+cu128", "abtem": "1.0.11"},
    ],
)
def test_what_only_looks_like_a_trap_is_none(versions: dict[str, str | None]) -> None:
    assert [each.state for each in packages.traps(having(**versions))] == [State.OK]


@pytest.mark.parametrize(
    ("torch", "vision", "state"),
    [(False, True, "broken"), (False, False, "ok"), (True, True, "ok"), (False, None, "ok"), (None, True, "ok")],
)
def test_torchvision_must_be_built_as_torch_is(torch: bool | None, vision: bool | None, state: str) -> None:
    found = packages.twins(lambda name: torch if name == "torch" else vision)
    assert found.state == state
    if state == "broken":
        assert "pip uninstall torchvision torchaudio" in found.remedy


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip = None\n", False),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '12.8'\n", True),
        ("__version__ = '0.28.0+cpu'\ngit_version = 'x'\n", False),
        ("__version__ = '0.28.0'\n", True),
    ],
)
def test_the_build_is_read_from_the_file_of_the_version(
    text: str, cuda: bool, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text(text)

    class Distribution:
        def locate_file(self, path: str):
            return tmp_path / path

    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution())
    assert packages.built_for_cuda("torch") is cuda


def test_a_package_that_is_not_there_has_no_build() -> None:
    assert packages.built_for_cuda("no-such-package") is None
