"""What lies beside a micrograph: who wins, what is refused, what is left alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from intake.errors import IntakeError
from intake.sidecar import Sidecar, read_sidecar
from microscopy.readers import ReadOptions


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "drop" / "night"
    folder.mkdir(parents=True)
    return folder / "image.emd"


def read(image: Path) -> Sidecar:
    return read_sidecar(image, image.parent.parent)


def test_nothing_beside_says_nothing(image: Path) -> None:
    assert read(image) == Sidecar({}, ())


def test_every_key(image: Path) -> None:
    image.with_suffix(".toml").write_text(
        'elements = "S, Mo"\ndose = 3e4\npixel_size = [0.1, 0.2]\nmodality = "haadf"\nsignal = 2\nframe = "mean"\n'
        'crop_scale_bar = true\nformula = "Mo2S4"\n'
    )
    said = read(image).options
    assert said == {
        "elements": ["Mo", "S"],
        "formula": "MoS2",
        "dose": 3e4,
        "pixel_size": [0.1, 0.2],
        "modality": "HAADF",
        "signal": "2",
        "frame": "mean",
        "crop_scale_bar": True,
    }
    assert json.loads(json.dumps(said)) == said
    assert set(said) <= set(ReadOptions.__dataclass_fields__)


def test_what_is_said_can_be_settings(image: Path) -> None:
    from flows.settings import load_settings

    image.with_suffix(".json").write_text(
        '{"elements": ["Mo", "S"], "pixel_size": 0.1, "modality": "idpc", "frame": 3}'
    )
    options = load_settings(None, {"read": read(image).options}).read
    assert (options.elements, options.pixel_size, options.frame) == (("Mo", "S"), (0.1, 0.1), 3)


def test_the_nearer_wins_and_what_is_farther_fills_in(image: Path) -> None:
    root = image.parent.parent
    for number, place in enumerate(
        (
            root.parent / "automat.toml",  # above the watched folder: none of our business
            root / "automat.toml",
            image.parent / "automat.toml",
            image.with_suffix(".json"),
            image.with_suffix(".toml"),
            image.with_name("image.emd.json"),
            image.with_name("image.emd.toml"),
        )
    ):
        data = {"dose": number + 1.0}
        place.write_text(json.dumps(data) if place.suffix == ".json" else f"dose = {number + 1}.0")
        assert read(image).options == ({} if number == 0 else data)
    with (root / "automat.toml").open("a") as stream:
        stream.write("\npixel_size = 0.1\n")
    said = read(image)
    assert said.options == {"dose": 7.0, "pixel_size": [0.1, 0.1]}
    assert [source.name for source in said.sources] == [
        *("image.emd.toml", "image.emd.json", "image.toml", "image.json", "automat.toml", "automat.toml")
    ]


def test_a_nearer_composition_replaces_the_whole(image: Path) -> None:
    (image.parent / "automat.toml").write_text('elements = ["W", "Se"]')
    image.with_suffix(".toml").write_text('formula = "MoS2"')
    assert read(image).options == {"formula": "MoS2"}


def test_what_an_instrument_writes_is_left_alone_and_listed(image: Path) -> None:
    image.with_suffix(".json").write_text('{"Stage": {"x": 1}, "a\\nb": 1, "dose": null, "pixel_size": 0.2}')
    assert read(image) == Sidecar(
        {"pixel_size": [0.2, 0.2]}, (image.with_suffix(".json"),), ("image.json: Stage", "image.json: a\\nb")
    )
    image.with_suffix(".json").write_text("[1, 2]")
    assert read(image).options == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"dose": 0}', "dose = 0: must be a positive number"),
        ('{"dose": "low"}', "positive number"),
        ('{"dose": true}', "positive number"),
        ('{"dose": NaN}', "positive number"),
        ('{"dose": 1e999}', "positive number"),
        ('{"pixel_size": [0.1, 0.1, 0.1]}', "one number or"),
        ('{"pixel_size": {"x": 1}}', "positive number"),
        ('{"elements": ["Mo", "Xx"]}', "Xx is no element"),
        ('{"elements": "X"}', "X is no element"),
        ('{"elements": []}', "no elements"),
        ('{"elements": 42}', "no elements"),
        ('{"formula": "Qq2"}', "no chemical formula"),
        ('{"formula": ""}', "no chemical formula"),
        ('{"formula": 5}', "write it like MoS2"),
        ('{"formula": "MoS2", "elements": "W,S"}', "elements S,W and formula MoS2 disagree"),
        ('{"modality": "sem"}', "must be one of idpc"),
        ('{"signal": {"name": "x"}}', "name or the index"),
        ('{"signal": "' + "x" * 300_000 + '"}', "name or the index"),
        ('{"formula": "' + "C" * 300_000 + '"}', "write it like MoS2"),
        ('{"frame": -1}', "index from 0"),
        ('{"frame": true}', "index from 0"),
        ('{"crop_scale_bar": "yes"}', "true or false"),
        ('{"dose": ', "is no JSON"),
        ("", "is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"dose": ' + "9" * 5000 + "}", "image.json"),
    ],
)
def test_a_wrong_value_names_the_sidecar_and_the_key(text: str, told: str, image: Path) -> None:
    image.with_suffix(".json").write_text(text)
    with pytest.raises(IntakeError) as caught:
        read(image)
    assert str(image.with_suffix(".json")) in str(caught.value)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"dose = 1 2", "is no TOML"), (b"\xff\xfe", "is no TOML"), (b"#" * 1_000_001, "larger than 1 MB")],
)
def test_a_bad_toml_is_told(content: bytes, told: str, image: Path) -> None:
    image.with_suffix(".toml").write_bytes(content)
    with pytest.raises(IntakeError, match=told):
        read(image)


def test_a_byte_order_mark_is_no_matter(image: Path) -> None:
    image.with_suffix(".json").write_bytes(b'\xef\xbb\xbf{"dose": 2}')
    assert read(image).options == {"dose": 2.0}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.symlink_to("/etc/hostname"), "leads out of the watched folder"),
        (lambda path: path.symlink_to("missing"), "leads nowhere"),
        (lambda path: path.symlink_to(path), "cannot be followed"),
        (os.mkfifo, "is a named pipe"),
        (Path.mkdir, "image.json: "),
    ],
)
def test_what_is_no_file_is_not_read(make: object, told: str, image: Path) -> None:
    make(image.with_suffix(".json"))  # type: ignore[operator]
    with pytest.raises(IntakeError, match=told):
        read(image)


def test_a_link_within_the_folder_is_followed(image: Path) -> None:
    (image.parent.parent / "common.json").write_text('{"dose": 5}')
    image.with_suffix(".json").symlink_to("../common.json")
    assert read(image).options == {"dose": 5.0}
