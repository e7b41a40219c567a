"""What the predictive models return: frozen records, arrays with shape, unit and frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, Int64
from pymatgen.core import Structure


@dataclass(frozen=True, eq=False)
class Denoised:
    """A denoised image.

    Attributes
    ----------
    image
        Shape (H, W), the units of the input.
    weights
        Share of each expert in the result, summing to one.
    noise
        Estimated standard deviation of the noise per pixel of the input, in the input's units.
    scale
        Output pixels per input pixel along each axis (1.0: no super-resolution).
    digest
        Identifies the experts and, for trained ones, their weights.
    uncertainty
        Standard deviation among the experts that were asked, shape (H, W), units of the input; None for one expert.
    level
        Signal to noise in dB between 0.1 and 2 1/Å as the gate sees it, or None.
    pattern
        Pattern family as the gate sees it (``models.divaesr.configuration.PATTERNS``), or empty.
    note
        Anything a viewer of the image has to know (fallback taken, pixel size outside the trained range).
    """

    image: Float32[np.ndarray, "H W"]
    weights: Mapping[str, float]
    noise: float
    scale: float
    digest: str
    uncertainty: Float32[np.ndarray, "H W"] | None = None
    level: float | None = None
    pattern: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class RelaxationPath:
    """The way of a relaxation: numbers of every evaluation, and evenly spaced frames with the first and the last.

    Attributes
    ----------
    numbers
        Atomic number of each site, shape (N,).
    energies, max_forces
        eV of the whole cell, and largest force or in-plane virial per atom in eV/Å (eV), before the first step and
        after each, shape (S,).
    frames
        Which of them have a frame, ascending, shape (F,).
    positions, cells
        Å, of each frame, shape (F, N, 3) and (F, 3, 3); rows of a cell are a, b, c.
    """

    numbers: Int64[np.ndarray, " N"]
    energies: Float[np.ndarray, " S"]
    max_forces: Float[np.ndarray, " S"]
    frames: Int64[np.ndarray, " F"]
    positions: Float[np.ndarray, "F N 3"]
    cells: Float[np.ndarray, "F 3 3"]


@dataclass(frozen=True, eq=False)
class Relaxation:
    """A relaxed slab and its energies.

    Attributes
    ----------
    structure
        Relaxed slab; same sites in the same order as the input.
    potential, checkpoint, scale
        Name of the potential, sha256 of its weights, and the energy scale (``"PBE"``, ``"PBE+MP2020"``).
    energy_per_atom, formation_energy_per_atom
        eV/atom; the formation energy is None when a reference is missing (``note`` says which).
    initial_energy_per_atom
        eV/atom of the structure that was relaxed, before the first step.
    steps, converged, max_force
        Optimiser steps, whether forces and in-plane stress fell below the limit, largest force left in eV/Å.
    displacements
        In-plane displacement of each site in Å, rigid translation and cell strain removed, shape (N,).
    strain
        Relative change of a, b and change of gamma in degrees, shape (3,).
    note
        Anything a reader of the numbers has to know (fallback taken, missing reference).
    path
        The way from the start to the structure; None when it was not kept.
    starts, chosen
        Arrangements of heights that were tried, and in words the one that led to this structure.
    runner_up_energy_per_atom
        eV/atom of the best other arrangement, as far as it was relaxed; None when no other was tried, or none ended
        elsewhere.
    """

    structure: Structure
    potential: str
    checkpoint: str
    scale: str
    energy_per_atom: float
    formation_energy_per_atom: float | None
    initial_energy_per_atom: float
    steps: int
    converged: bool
    max_force: float
    displacements: Float[np.ndarray, " N"]
    strain: Float[np.ndarray, " 3"]
    note: str = field(default="")
    path: RelaxationPath | None = None
    starts: int = 1
    chosen: str = "as given"
    runner_up_energy_per_atom: float | None = None
