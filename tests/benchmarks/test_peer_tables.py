"""Other tools beside ours: a tool that gave no answer is named, and its images do not count as good ones."""

from benchmarks.peer_tables import peers

COLUMNS = {
    "kind": "columns",
    "recall": 0.9,
    "precision": 1.0,
    "median_error": 0.01,
    "rms_error": 0.02,
    "lattice_error": 1e-3,
    "seconds": 2.0,
    "problem": "",
}
IMAGE = {"kind": "denoise", "psnr": 30.0, "ssim": 0.9, "structure_factor_error": 0.1, "seconds": 1.0, "problem": ""}
RANK = {"kind": "retrieval", "elements": "given", "templates": 7, "seconds": 0.1, "problem": ""}
LOST = dict.fromkeys(("psnr", "ssim", "structure_factor_error", "seconds"))


def rows():
    yield {**COLUMNS, "id": "a", "dose": 1e3, "competitor": "Atomap"}
    yield {**COLUMNS, "id": "a", "dose": 1e4, "competitor": "Atomap", "recall": 1.0}
    yield {**COLUMNS, "id": "b", "dose": 1e4, "competitor": "Atomap", "recall": 0.5}
    yield {**IMAGE, "id": "a", "dose": 1e4, "competitor": "BM3D"}
    yield {**IMAGE, **LOST, "id": "b", "dose": 1e4, "competitor": "BM3D", "problem": "not run: no network"}
    yield {**RANK, "id": "a", "dose": 1e4, "competitor": "AutoMat", "rank": 1, "first1": True, "first3": True}
    yield {**RANK, "id": "b", "dose": 1e4, "competitor": "AutoMat", "rank": None, "first1": False, "first3": False}


def test_one_table_a_question_with_the_highest_dose_first():
    columns, denoising, retrieval, problems = peers(list(rows()))
    assert [cells[:4] for cells in columns.cells] == [
        ("10000", "Atomap", "2 of 2", "0.750"),
        ("1000", "Atomap", "1 of 1", "0.900"),
    ]
    assert denoising.cells[0][:4] == ("10000", "BM3D", "1 of 2", "30.00")
    assert retrieval.cells[0][3] == "2"
    assert retrieval.cells[0][4].startswith("50.0 %")
    assert problems.cells == (("BM3D", "1", "not run: no network"),)


def test_nothing_asked_nothing_shown():
    assert peers([]) == []
