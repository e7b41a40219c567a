"""Records of a small run, built by hand: 1H-MoS2 in a non-square image."""

from __future__ import annotations

from functools import cache

import numpy as np
from pymatgen.core import Lattice, Structure

from microscopy.micrograph import Micrograph
from models.records import Denoised, Relaxation
from planning.records import Branch, Check, Decision, Found, Status, Verdict
from reconstruction.records import (
    Candidate,
    Candidates,
    ElementEvidence,
    ImageLattice,
    PointDefect,
    PointDefects,
    Reconstruction,
)
from reporting.building import build_result
from reporting.result import Result

PIXEL = (0.13, 0.11)
SHAPE = (150, 220)
A = 3.18
SHA = "3f" * 32


def monolayer(metal: str = "Mo", chalcogen: str = "S", a: float = A) -> Structure:
    """1H monolayer: metal at the origin, two chalcogens in one column."""
    lattice = Lattice([[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, 23.13]], pbc=(True, True, False))
    half = 1.565 / 23.13
    return Structure(
        lattice, [metal, chalcogen, chalcogen], [[0, 0, 0.5], [2 / 3, 1 / 3, 0.5 + half], [2 / 3, 1 / 3, 0.5 - half]]
    )


def turned(structure: Structure, degrees: float = 17.0) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(structure.lattice.matrix[:2, :2] @ turn)


def candidate(structure: Structure, template: str, probability: float) -> Candidate:
    return Candidate(
        template=template,
        source="embedded",
        structure=structure,
        origin="template",
        cell=turned(structure),
        crystal=turned(structure),
        shift=np.array([1.3, 0.7]),
        score=0.99,
        log_likelihood=512.0 * probability,
        log_prior=-0.5,
        correlation=0.97,
        strain=0.004,
        scan_off=0.1,
        probability=probability,
    )


def columns_image(best: Candidate) -> np.ndarray:
    """Gaussian columns of a candidate on the pixel grid."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    xy = np.stack([x * PIXEL[1], y * PIXEL[0]], axis=-1)
    fractional = (xy - best.shift) @ np.linalg.inv(best.cell)
    image = np.zeros(SHAPE)
    for site in best.structure:
        nearest = (fractional - site.frac_coords[:2] + 0.5) % 1.0 - 0.5
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                distance = (nearest + np.array([i, j])) @ best.cell
                image += site.specie.Z * np.exp(-(distance**2).sum(axis=-1) / (2 * 0.35**2))
    return image


@cache
def micrograph(source: str = "flake 07.tif") -> Micrograph:
    best = candidate(monolayer(), "mos2-1h", 0.9)
    image = columns_image(best) + np.random.default_rng(5).normal(size=SHAPE) * 25
    return Micrograph(image.astype(np.float32), PIXEL, SHA, source, pixel_size_source="file", dose=1e4)


@cache
def denoised() -> Denoised:
    image = columns_image(candidate(monolayer(), "mos2-1h", 0.9)).astype(np.float32)
    return Denoised(image, {"wiener": 0.6, "bragg": 0.4}, 25.0, 1.0, "classical/auto@1")


@cache
def candidates() -> Candidates:
    lattice = ImageLattice(turned(monolayer()), np.full((2, 2), 0.004), 41.0, 18, ("Only 5 cells along y.",))
    items = (
        candidate(monolayer(), "mos2-1h", 0.93),
        candidate(monolayer("W", "S", 3.19), "ws2-1h", 0.06),
        candidate(monolayer("Nb", "S", 3.35), "nbs2-1h", 0.01),
    )
    return Candidates(items, lattice, 33.2, 1482)


@cache
def reconstruction(scale: float = 1.031) -> Reconstruction:
    best = candidates().items[0]
    v, u = np.mgrid[:48, :48] / 48
    model = np.zeros((48, 48))
    for site in best.structure:
        nearest = (np.stack([u, v], axis=-1) - site.frac_coords[:2] + 0.5) % 1.0 - 0.5
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                distance = (nearest + np.array([i, j])) @ best.structure.lattice.matrix[:2, :2]
                model += site.specie.Z * np.exp(-(distance**2).sum(axis=-1) / (2 * 0.35**2))
    residual = np.random.default_rng(2).normal(size=model.shape)
    return Reconstruction(
        structure=best.structure,
        symmetrised=best.structure,
        candidate=best,
        a=3.184,
        b=3.179,
        gamma=119.93,
        lattice_errors=np.array([0.004, 0.005, 0.08]),
        position_errors=np.array([0.01, 0.02, 0.02]),
        layer_group=78,
        layer_group_symbol="p-6m2",
        symmetry_tolerance=0.05,
        scale=scale,
        shear=0.004,
        cell_average=(model + residual).astype(np.float32),
        cell_model=model.astype(np.float32),
        cell_residual=residual.astype(np.float32),
        columns=np.array([[0.0, 0.0], [2 / 3, 1 / 3]]),
        z_source="template",
        elements=(ElementEvidence("S", ("P", "Cl")), ElementEvidence("Mo", ("Nb", "Tc", "Ru"))),
    )


def defects(count: int = 2) -> PointDefects:
    """A sulphur vacancy, then molybdenum replaced by tungsten, in cells of one row."""
    best = candidates().items[0]
    found = []
    for n in range(count):
        site, cell = (0, (4 + n, 5)) if n % 2 else (1, (4 + n, 5))
        x, y = (best.structure.frac_coords[site, :2] + cell) @ best.cell + best.shift
        kind, element, other = ("substitution", "Mo", "W") if n % 2 else ("vacancy", "S", None)
        found.append(PointDefect(kind, element, other, (x, y), cell, site, 0.45 if n % 2 else -1.02, 0.97))
    return PointDefects(116, {"Mo": 11.2, "S": 4.1}, tuple(found), "A missing S would be 4.1 standard errors.")


def relaxation(formation: float | None = -0.8421) -> Relaxation:
    return Relaxation(
        structure=monolayer(a=3.186),
        potential="SevenNet-0",
        checkpoint="ab" * 32,
        scale="PBE",
        energy_per_atom=-7.2514,
        formation_energy_per_atom=formation,
        initial_energy_per_atom=-7.2502,
        steps=9,
        converged=True,
        max_force=0.008,
        displacements=np.array([0.0, 0.011, 0.011]),
        strain=np.array([0.002, 0.002, 0.0]),
        note="MatterSim's weights are not available, so SevenNet-0 was used.",
    )


def verdict(status: Status = Status.ACCEPTED, value: float = 0.97) -> Verdict:
    checks = (
        Check("correlation", value, 0.9, value > 0.9, "How well the simulated cell matches the measured one."),
        Check("margin", 33.2, 5.0, True, "Log likelihood by which the best beats the next structure."),
        Check("position precision", 0.02, 0.1, True, "Largest standard error of a column position, Å."),
        Check("relaxation shift", 0.011, 0.3, True, "Largest move of an atom when forces are relaxed, Å."),
    )
    return Verdict(checks, 0.93, status, "all checks passed")


def decisions() -> tuple[Decision, ...]:
    return (
        Decision(Branch.REDENOISE, "correlation 0.71 is below 0.9 while the lattice is significant", "rules"),
        Decision(Branch.ACCEPT, "all checks passed", "rules"),
    )


def found() -> tuple[Found, ...]:
    """What each of the decisions was about."""
    return (
        Found("MoSe2", "2dm-3594", "template", Status.AMBIGUOUS, 0.31, ("fit", "position precision"), False),
        Found("MoS2", "2dm-3150", "template", Status.ACCEPTED, 0.93, (), True),
    )


def whole_run(**changes: object) -> Result:
    found = candidates()
    arguments = {
        "denoised": denoised(),
        "candidates": found,
        "reconstruction": reconstruction(),
        "alternatives": found.items[1:],
        "relaxation": relaxation(),
        "decisions": decisions(),
        "timings": {"denoise": 0.25, "relax": 4.5},
        "versions": {"automat-stem": "0.1.0"},
    }
    return build_result(micrograph(), verdict(), **(arguments | changes))
