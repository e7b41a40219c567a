import numpy as np
import pytest
from images import mos2

from benchmarks import point_defects
from benchmarks.point_defects import Counts, count, main
from microscopy.defects import Defect
from microscopy.micrograph import Micrograph
from microscopy.simulation import Simulation, SimulationOptions, Truth
from reconstruction.records import PointDefect, PointDefects


def found(x, y, element="S", replaced_by=None):
    kind = "substitution" if replaced_by else "vacancy"
    return PointDefect(kind, element, replaced_by, (x, y), (0, 0), 0, -1.0, 0.99)


def test_columns_count_once_and_the_border_not_at_all():
    image = np.zeros((100, 200), dtype=np.float32)
    micrograph = Micrograph(image, (0.1, 0.1), "0", "test")
    defects = (
        Defect("vacancy", 1, (0, 0), None, (5.0, 5.0)),
        Defect("vacancy", 2, (0, 0), None, (5.0, 5.0)),  # the same column
        Defect("substitution", 0, (0, 0), "W", (12.0, 4.0)),
        Defect("vacancy", 0, (0, 0), None, (1.5, 5.0)),  # on the border of what is examined
        Defect("vacancy", 0, (0, 0), None, (15.0, 5.0)),  # missed
    )
    truth = Truth(mos2(), np.eye(2), np.zeros(2), SimulationOptions(), defects)
    examined = PointDefects(
        50, {}, (found(5.1, 5.0), found(12.0, 4.1, "Mo", "Cr"), found(1.5, 5.1, "Mo"), found(8.0, 8.0)), ""
    )
    assert count(Simulation(micrograph, truth), examined, 0.5) == Counts(50, 3, 2, 4, 3, 2, 0.5)
    nothing = count(Simulation(micrograph, truth), PointDefects(50, {}, (), ""))
    assert nothing == Counts(50, 3, 0, 0, 0, 0)


def test_table(monkeypatch, capsys, tmp_path):
    def no_answer(*_):
        return None

    def blank(structure, options, cache):
        return Simulation(Micrograph(np.zeros((8, 8), np.float32), (0.1, 0.1), "0", "test"), None)

    monkeypatch.setattr(point_defects, "search", no_answer)
    monkeypatch.setattr(point_defects, "simulate", blank)
    assert main(["--templates", "graphene:C", "--doses", "1e4", "--seeds", "2", "--out", str(tmp_path)]) == 0
    assert "| graphene:C | 1e+04 | 0 |" in capsys.readouterr().out


def test_help(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--vacancies" in capsys.readouterr().out
