"""The electron optics of an image: the few numbers that shape contrast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import _c, _e, _hplanck, _me

from microscopy.micrograph import Micrograph, Modality

DETECTORS = {
    Modality.IDPC: (4.0, 22.0),
    Modality.PHASE: (0.0, 22.0),
    Modality.UNKNOWN: (4.0, 22.0),
    Modality.ABF: (11.0, 22.0),
    Modality.ADF: (40.0, 100.0),
    Modality.HAADF: (80.0, 200.0),
}
"""Usual inner and outer collection angles in mrad."""


@dataclass(frozen=True)
class Optics:
    """Probe and detector.

    Attributes
    ----------
    modality
        What the detector measures.
    beam_energy
        eV.
    convergence_angle
        Semi-angle of the probe, mrad.
    detector
        Inner and outer collection angle in mrad; None means the usual ones of the modality.
    defocus
        Å, positive for underfocus as in abTEM.
    source_size
        Standard deviation of the effective (Gaussian) source, Å.
    astigmatism
        Two-fold astigmatism C₁₂ in Å: the focus differs by twice as much between two directions at right angles.
    astigmatism_angle
        Degrees from +x towards +y to the direction of most underfocus, in the frame of whatever is imaged.
    """

    modality: Modality = Modality.IDPC
    beam_energy: float = 300e3
    convergence_angle: float = 21.3
    detector: tuple[float, float] | None = None
    defocus: float = 0.0
    source_size: float = 0.0
    astigmatism: float = 0.0
    astigmatism_angle: float = 0.0

    @property
    def wavelength(self) -> float:
        """Relativistic de Broglie wavelength in Å."""
        energy = self.beam_energy * _e
        momentum = np.sqrt(2 * _me * energy * (1 + energy / (2 * _me * _c**2)))
        return float(_hplanck / momentum * 1e10)

    @property
    def cutoff(self) -> float:
        """Highest spatial frequency an incoherent image or an iDPC image carries, 1/Å: 2α/λ."""
        return 2e-3 * self.convergence_angle / self.wavelength

    @property
    def angles(self) -> tuple[float, float]:
        """Inner and outer collection angles in mrad."""
        return self.detector or DETECTORS[self.modality]

    @classmethod
    def of(cls, micrograph: Micrograph) -> Optics:
        """The optics of a micrograph, with the usual values where its file is silent."""
        default = cls()
        return cls(
            modality=micrograph.modality,
            beam_energy=micrograph.beam_energy or default.beam_energy,
            convergence_angle=micrograph.convergence_angle or default.convergence_angle,
        )
