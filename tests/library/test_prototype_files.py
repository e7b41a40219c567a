import pytest

from library.decoration import decorations
from library.prototype_files import PROTOTYPES, read_prototypes
from microscopy.errors import LibraryError

GOOD = (PROTOTYPES / "SnS.toml").read_text()


@pytest.fixture
def write(tmp_path):
    def write(text, name="x.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def message(path) -> str:
    with pytest.raises(LibraryError) as caught:
        read_prototypes([path])
    assert path.name in str(caught.value)
    return str(caught.value).split(path.name)[1]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("b = 4.07", "", "b: the rectangular cell needs b in Å"),
        ("a = 4.30", "a = nan", "a: "),
        ("a = 4.30", "a = = 4", "line 4"),
        ('system = "rectangular"', 'system = "cubic"', "system: .*'hexagonal'"),
        ('system = "rectangular"', 'system = "hexagonal"', "b: the hexagonal cell has b = a: leave it out"),
        ('system = "rectangular"', 'system = "oblique"', "gamma: the oblique cell needs gamma in degrees"),
        (
            '["M", 0.1194, 0.25, -1.458]',
            '["M", 0.1194, 0.25]',
            r'sites\.1\.4: is missing; a site is \["role", x, y, z\]',
        ),
        ('["M", 0.1194, 0.25, -1.458]', '["Q", 0.1194, 0.25, -1.458]', "reference: nothing fills Q"),
        ("-1.458", "-0.07", "sites: atoms of the reference compound overlap; .* z is in Å"),
        ("a = 4.30", "a = 43.0", "sites: the reference compound is not one connected layer"),
        ('bonds = [["M", "X"]]', 'bonds = [["M", "Z"]]', "bonds: no site has the role Z"),
        ('M = "Sn", X = "S"', 'M = "Sn"', "reference: nothing fills X"),
        ('M = "Sn", X = "S"', 'M = "Sn2x+", X = "S"', r"reference\.M: 'Sn2x\+' is no ion"),
        ('M = "Sn", X = "S"', 'M = "Qq", X = "S"', r"reference\.M: 'Qq' is no element"),
        ('M = { 2 = "Si Ge Sn Pb" }', 'M = { 2 = "Si Gx" }', r"decorations\.1\.M: 'Gx' is no element"),
        ('M = { 2 = "Si Ge Sn Pb" }', 'M = { two = "Si" }', r"decorations\.1\.M: 'two' is no charge"),
        ('M = { 2 = "Si Ge Sn Pb" }', 'M = "Si"', r"decorations\.1\.M: write elements by charge"),
        ('M = { 2 = "Si Ge Sn Pb" }', 'M = { 2 = "" }', r"decorations\.1\.M: no element may fill this role"),
        ('M = { 2 = "Si Ge Sn Pb" }', "", r"decorations\.1: nothing fills M"),
        ("radii", "radius", "radii: is missing; radius: no such field; the fields are name, "),
        ('name = "SnS"', 'name = "../escape"', "name: "),
    ],
)
def test_what_is_wrong_is_said_by_file_and_field(write, old, new, says):
    assert old in GOOD
    path = write(GOOD.replace(old, new, 1))
    with pytest.raises(LibraryError, match=rf"x\.toml: .*{says}"):
        read_prototypes([path])


def test_what_is_no_text_no_file_or_no_folder_of_prototypes_is_named(write, tmp_path):
    assert "not a TOML file" in message(write(b"\xff\xfe", "binary.toml"))
    assert "name: is missing" in message(write("", "empty.toml"))
    assert "cannot be read" in message(tmp_path / "absent.toml")
    (tmp_path / "folder").mkdir()
    assert "no prototype files" in message(tmp_path / "folder")


def test_files_and_folders_may_overlap_but_names_may_not(write, tmp_path):
    first = write(GOOD, "one.toml")
    assert [p.name for p in read_prototypes([first, tmp_path])] == ["SnS"]
    write(GOOD, "two.toml")
    with pytest.raises(LibraryError, match=r"'SnS' is also the name of .*one\.toml"):
        read_prototypes([tmp_path])


def test_an_oblique_cell_keeps_its_angle(write):
    text = GOOD.replace('system = "rectangular"', 'system = "oblique"\ngamma = 93.0')
    prototype = read_prototypes([write(text)])[0]
    assert next(decorations(prototype)).structure().lattice.gamma == pytest.approx(93.0)
