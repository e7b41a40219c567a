"""Images made with the linear model: fast, exact, and independent of multislice."""

from __future__ import annotations

import numpy as np
from pymatgen.core import Lattice, Structure

from library.fingerprint import nodes
from microscopy.linear import projected_scattering, transfer
from microscopy.micrograph import Micrograph, Modality
from microscopy.optics import Optics
from microscopy.slab import plane_cell, slab

C_AXIS = 22.0


def layer(a: float, b: float, gamma: float, species: list[str], sites: list[tuple[float, float, float]]) -> Structure:
    """A slab from plane parameters (Å, degrees) and sites (u, v, z in Å)."""
    lattice = Lattice.from_parameters(a, b, C_AXIS, 90, 90, gamma)
    return slab(Structure(lattice, species, [(u, v, 0.5 + z / C_AXIS) for u, v, z in sites]))


def mos2(a: float = 3.16) -> Structure:
    return layer(a, a, 120, ["Mo", "S", "S"], [(1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 1.56), (2 / 3, 1 / 3, -1.56)])


def mos2_1t(a: float = 3.18) -> Structure:
    return layer(a, a, 120, ["Mo", "S", "S"], [(0, 0, 0), (1 / 3, 2 / 3, 1.56), (2 / 3, 1 / 3, -1.56)])


def graphene() -> Structure:
    return layer(2.46, 2.46, 120, ["C", "C"], [(1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 0)])


def tin_sulfide() -> Structure:
    sites = [(0.12, 0.25, 1.4), (0.88, 0.75, -1.4), (0.48, 0.25, -1.2), (0.52, 0.75, 1.2)]
    return layer(4.33, 4.09, 90, ["Sn", "Sn", "S", "S"], sites)


def oblique() -> Structure:
    sites = [(0.1, 0.2, 0.0), (0.45, 0.62, 0.8), (0.8, 0.35, -0.7)]
    return layer(4.1, 6.3, 102, ["Pd", "Se", "Cl"], sites)


def turn(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def linear_image(
    structure: Structure,
    *,
    shape: tuple[int, int] = (200, 240),
    pixel: float = 0.16,
    matrix: np.ndarray | None = None,
    origin: tuple[float, float] = (1.3, 2.1),
    noise: float = 0.3,
    seed: int = 0,
    modality: Modality = Modality.HAADF,
    detector: float | None = None,
) -> tuple[Micrograph, np.ndarray]:
    """Image of a slab under a linear map (image = matrix · slab), and its cell rows (x, y) in the image.

    White noise, relative to the standard deviation of the noise-free image.
    """
    optics = Optics(modality)
    matrix = turn(17.0) if matrix is None else matrix
    cell = plane_cell(structure) @ matrix.T
    indices = nodes(cell, min(optics.cutoff, 0.5 / pixel), 0.001)
    g = indices @ np.linalg.inv(cell).T
    factors = projected_scattering(structure, indices, modality) * transfer(g, optics, detector)
    factors = factors * np.exp(-2j * np.pi * g @ np.array(origin))
    y, x = np.arange(shape[0]) * pixel, np.arange(shape[1]) * pixel
    rows, columns = np.exp(2j * np.pi * np.outer(y, g[:, 1])), np.exp(2j * np.pi * np.outer(g[:, 0], x))
    image = 2 * np.real((rows * factors) @ columns)
    image = image + noise * image.std() * np.random.default_rng(seed).normal(size=shape)
    record = Micrograph(image.astype(np.float32), (pixel, pixel), "0" * 64, "linear image", modality)
    return record, cell
