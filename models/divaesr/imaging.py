r"""Training images: atoms to the noisy image of a microscope and to the truth, in batches, on any device.

The model of ``microscopy.linear``. Phase images: the projected potential, through the transfer of a quadrant detector;
each quadrant's shot noise is white in the gradient of the phase, and integration makes it grow as 1/q². Incoherent
images: Z^1.7 through the transfer of the aperture, and Poisson counts. The scales below are those of multislice.

The dose is not drawn: the signal-to-noise ratio is, and the dose follows from it, so that every kind of image holds
all materials.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.divaesr.bank import Q_MAX, RANK, CrystalBank
from models.divaesr.configuration import BAND, LEVELS, LOW, PHASE, Configuration
from models.divaesr.grids import band_power, cosine_basis, integrate, resample, wavenumbers
from models.divaesr.optics import PIXEL, aperture, displaced, electron, splatted
from models.divaesr.preparation import blur, filled, prepare
from models.divaesr.specimens import MARGIN, Specimens

BEAMS = ((60e3, 30.0), (80e3, 25.0), (80e3, 31.0), (200e3, 22.0), (200e3, 26.0), (300e3, 21.3), (300e3, 25.0))
"""Beam energy in eV and convergence semi-angle in mrad of microscopes in use; our default counts thrice."""

BEAM_CHANCES = (1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 1.0)

RING_SHARE = 0.241
"""Share of the beam that one quadrant of the usual ring (4 to 22 mrad) collects."""

INCOHERENT_YIELD, INCOHERENT_EXPONENT, INCOHERENT_WIDTH = 4.1e-6, 1.7, 0.1
"""Fraction of the beam scattered by one atom per Z^1.7 and Å², the exponent, and the width of an atom in Å."""

WORST_DOSE, BEST_DOSE = 30.0, 3e8
"""e/Å², whatever the signal-to-noise ratio asks for."""

DIRT_LENGTH = 8.0
"""Å, standard deviation of the smoothing of contamination."""

BORDER_BLUR = 1.5
"""dB, standard deviation by which the border between low and high noise is blurred."""

DEFECT_RADIUS, DEFECT_WEIGHT = 1.0, 8.0
"""Å around a point defect, and by how much its pixels count more."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Training images on the working grid, kinds in equal blocks in the order of the configuration.

    Attributes
    ----------
    image, mask
        Scaled as by ``preparation.prepare``, (B, 1, H, W).
    truth, weight
        Noise-free image in the same scale, and importance of each pixel, (B, 1, 2H, 2W).
    floor
        Power that errors are compared with where there is no signal, (B,).
    kind, pattern
        Indices into the kinds and into ``PATTERNS`` (-1: not to be said), (B,).
    level
        Signal to noise in dB, (B,).
    """

    image: Tensor
    mask: Tensor
    truth: Tensor
    weight: Tensor
    floor: Tensor
    kind: Tensor
    pattern: Tensor
    level: Tensor


class Phantoms:
    """Draws training images.

    Parameters
    ----------
    bank
        Crystals.
    configuration
        Kinds of image and the working grid.
    device
        Where everything is computed.
    """

    def __init__(self, bank: CrystalBank, configuration: Configuration, device: torch.device) -> None:
        self.specimens = Specimens(bank, device)
        self.configuration, self.device = configuration, device
        self.basis = torch.from_numpy(bank.basis).to(device)
        self.amplitudes = torch.from_numpy(bank.amplitudes).to(device)
        self.table = torch.from_numpy(bank.transfer).to(device)

    def draw(self, seed: int, each: int, side: int) -> Batch:
        """Draw ``each`` images of every kind, ``side`` pixels of `PIXEL` wide; the same seed gives the same batch."""
        rng = torch.Generator(self.device).manual_seed(seed)
        self._rng = rng
        kinds = self.configuration.kinds
        b = each * len(kinds)
        kind = torch.arange(len(kinds), device=self.device).repeat_interleave(each)
        phase = torch.tensor([name.startswith(PHASE) for name in kinds], device=self.device)[kind]
        low = torch.tensor([name.endswith(LOW) for name in kinds], device=self.device)[kind]
        worst, border, best = LEVELS
        wanted = torch.where(low, self._uniform(b, worst, border), self._uniform(b, border, best))
        wanted = wanted + BORDER_BLUR * torch.randn(b, generator=rng, device=self.device)

        atoms = self.specimens.draw(b, side * PIXEL, rng)
        clean, alpha_over_lambda = self._clean(atoms.image, atoms.positions, atoms.numbers, phase, side)
        clean = self._contaminated(clean, phase)
        moved, jitter = self._scanned(clean)
        signal = band_power(moved, PIXEL, BAND)
        image, noise = self._counted(moved, jitter, phase, alpha_over_lambda, signal, wanted)
        level = (10 * torch.log10(signal.clamp_min(1e-12 * noise) / noise)).clamp(worst - 4, best + 4)
        return self._prepared(image, moved, self._mask(b, side), atoms.defects, noise, kind, atoms.patterns, level)

    def _uniform(self, shape: int | tuple[int, ...], low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self._rng, device=self.device)

    def _chance(self, count: int, probability: float) -> Tensor:
        return torch.rand(count, generator=self._rng, device=self.device) < probability

    def _clean(
        self, image: Tensor, positions: Tensor, numbers: Tensor, phase: Tensor, side: int
    ) -> tuple[Tensor, Tensor]:
        """Noise-free images (B, H, W) in rad or fractions of the beam, and α/λ in 1/Å of each, (B,)."""
        b, padded = len(phase), side + 2 * round(MARGIN / PIXEL)
        incoherent = torch.zeros(len(numbers), RANK, device=self.device)
        incoherent[:, 0] = numbers**INCOHERENT_EXPONENT
        strengths = torch.where(phase[image, None], self.amplitudes[numbers], incoherent)
        spectrum = torch.fft.rfft2(splatted(image, positions, strengths, b, padded, MARGIN))
        fy = torch.fft.fftfreq(padded, PIXEL, device=self.device)[:, None]
        fx = torch.fft.rfftfreq(padded, PIXEL, device=self.device)[None, :]
        q = torch.hypot(fy, fx)
        beams = torch.tensor(BEAMS, device=self.device)
        chosen = torch.multinomial(
            torch.tensor(BEAM_CHANCES, device=self.device), b, replacement=True, generator=self._rng
        )
        energy, alpha = beams[chosen].T
        wavelength, mass = electron(energy)
        cutoff = (2e-3 * alpha / wavelength)[:, None, None]
        position = (q / Q_MAX * (self.basis.shape[1] - 1)).clamp(max=self.basis.shape[1] - 1.001)
        index, part = position.long(), position - position.long()
        basis = self.basis[:, index] * (1 - part) + self.basis[:, index + 1] * part
        atom = torch.exp(-2 * (torch.pi * INCOHERENT_WIDTH * q) ** 2)
        response = torch.where(phase[:, None, None, None], basis, 0.0)
        response[:, 0] = torch.where(phase[:, None, None], basis[0], atom)
        total = (spectrum * response).sum(dim=1)
        x = q / cutoff
        transfer = torch.where(phase[:, None, None], self._quadrants(fx, fy, x), aperture(x))
        # Thermal motion, source size, and a little astigmatism and defocus: blur that differs between directions.
        wide, narrow = self._uniform(b, 0.0, 0.45), self._uniform(b, 0.6, 1.0)
        angle = self._uniform(b, 0.0, torch.pi)[:, None, None]
        along, across = fx * angle.cos() + fy * angle.sin(), fy * angle.cos() - fx * angle.sin()
        sigma = wide[:, None, None]
        blurred = torch.exp(-2 * (torch.pi * sigma) ** 2 * (along**2 + (narrow[:, None, None] * across) ** 2))
        scale = torch.where(phase, wavelength * mass, INCOHERENT_YIELD)[:, None, None] / PIXEL**2
        fine = torch.fft.irfft2(total * transfer * blurred, s=(padded, padded)) * scale
        edge = (padded - side) // 2
        fine = fine[:, edge : edge + side, edge : edge + side]
        fine = torch.where(phase[:, None, None], fine - fine.mean(dim=(1, 2), keepdim=True), fine)
        return fine, 1e-3 * alpha / wavelength

    def _quadrants(self, fx: Tensor, fy: Tensor, x: Tensor) -> Tensor:
        """Transfer of a quadrant detector, each image's turned at random, (B, P, K)."""
        rotation = self._uniform(len(x), 0.0, torch.pi / 2)[:, None, None]
        turn = (torch.atan2(fy, fx) - rotation) / (torch.pi / 2)
        fold = 2 * (turn - turn.round()).abs()
        grid = torch.stack([2 * x.clamp(max=1.0) - 1, (2 * fold - 1).expand_as(x)], dim=-1)
        table = self.table.expand(len(x), 1, *self.table.shape)
        return F.grid_sample(table, grid, mode="bilinear", padding_mode="border", align_corners=True)[:, 0] * (x < 1)

    def _contaminated(self, clean: Tensor, phase: Tensor) -> Tensor:
        """Smooth dirt on a quarter of the images."""
        b, side = clean.shape[:2]
        coarse = max(8, side // 16)  # smooth over 8 Å: a coarse grid holds all there is
        white = torch.randn((b, 1, coarse, coarse), generator=self._rng, device=self.device)
        dirt = resample(blur(white, DIRT_LENGTH * coarse / (side * PIXEL)), (side, side))[:, 0]
        dirt = dirt / dirt.std(dim=(1, 2), keepdim=True)
        dirt = torch.where(phase[:, None, None], dirt, dirt - dirt.amin(dim=(1, 2), keepdim=True))
        strength = torch.where(self._chance(b, 0.25), self._uniform(b, 0.0, 1.0), 0.0)
        return clean + strength[:, None, None] * clean.std(dim=(1, 2), keepdim=True) * dirt

    def _scanned(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Specimens that drift, and by how many Å the start of each scan line is displaced, (B, H)."""
        b, side = clean.shape[:2]
        drifts = torch.where(self._chance(b, 0.25), self._uniform(b, 0.0, 2.0), 0.0)
        jitters = torch.where(self._chance(b, 0.3), self._uniform(b, 0.0, 0.3), 0.0)
        jitter = jitters[:, None] * torch.randn((b, side), generator=self._rng, device=self.device)
        angle = self._uniform(b, 0.0, 2 * torch.pi)[:, None]
        t = torch.linspace(0, 1, side, device=self.device)
        bow = drifts[:, None] * 4 * t * (1 - t)  # the linear part of drift is a shear, which the specimens have
        return displaced(clean, bow * angle.cos(), bow * angle.sin()), jitter

    def _counted(
        self,
        truth: Tensor,
        jitter: Tensor,
        phase: Tensor,
        alpha_over_lambda: Tensor,
        signal: Tensor,
        wanted: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Noisy images (B, H, W), and the power of the noise within the band, (B,)."""
        b, side = truth.shape[:2]
        device = self.device
        white = torch.randn((b, side, side), generator=self._rng, device=device)
        k = wavenumbers((side, side), PIXEL, device)
        colour = torch.where(k > 0, 1 / k.clamp_min(1e-9), 0.0)
        q = k / (2 * torch.pi)
        inside = (q >= BAND[0]) & (q <= BAND[1])
        # Variance of one component of the gradient of the phase at unit dose: see ``microscopy.detector``.
        step = 2 * torch.pi * (torch.pi / (2 * 2**0.5)) * alpha_over_lambda
        unit_phase = step**2 * 2 * RING_SHARE / PIXEL**2
        unit_noise = torch.where(
            phase,
            unit_phase * (colour**2 * inside).mean(),
            truth.clamp_min(0).mean(dim=(1, 2)).clamp_min(1e-6) / PIXEL**2 * inside.float().mean(),
        )
        # An empty image has no signal to be measured against: its dose is that of a faint one.
        faint = torch.where(phase, 0.02**2, 1e-8)
        dose = (10 ** (wanted / 10) * unit_noise / torch.maximum(signal, 1e-2 * faint)).clamp(WORST_DOSE, BEST_DOSE)

        basis = cosine_basis(side, device)
        noise = basis.T @ (white * colour * (unit_phase / dose).sqrt()[:, None, None]) @ basis
        # Lines that start elsewhere record another gradient, and the gradient is what is integrated.
        still = torch.zeros_like(jitter[phase])
        gradients = torch.gradient(truth[phase], spacing=PIXEL, dim=(1, 2))
        gy, gx = (displaced(g, jitter[phase], still) - g for g in gradients)
        electrons = (dose[~phase] * PIXEL**2)[:, None, None]
        fractions = displaced(truth[~phase], jitter[~phase], torch.zeros_like(jitter[~phase])).clamp_min(0)
        image = torch.empty_like(truth)
        image[phase] = truth[phase] + noise[phase] + integrate(gy, gx, PIXEL)
        image[~phase] = torch.poisson(fractions * electrons, generator=self._rng) / electrons
        return image, unit_noise / dose

    def _mask(self, count: int, side: int) -> Tensor:
        """Believed pixels, (B, 1, H, W): a quarter of the images has dead lines, hot pixels or missing patches."""
        mask = torch.ones((count, 1, side, side), device=self.device)
        rows = torch.arange(side, device=self.device)
        for _ in range(3):
            chosen, upright = self._chance(count, 0.1), self._chance(count, 0.5)
            start, width = self._uniform(count, 0, side), self._uniform(count, 1, 4)
            line = (rows >= start[:, None]) & (rows < (start + width)[:, None]) & chosen[:, None]
            mask *= 1.0 - (line & upright[:, None]).float()[:, None, :, None]
            mask *= 1.0 - (line & ~upright[:, None]).float()[:, None, None, :]
            chosen = self._chance(count, 0.08)
            y, x = self._uniform(count, 0, side), self._uniform(count, 0, side)
            high, wide = self._uniform(count, 4, 40), self._uniform(count, 4, 40)
            down = (rows - y[:, None]).abs() < high[:, None] / 2
            across = (rows - x[:, None]).abs() < wide[:, None] / 2
            hole = down[:, :, None] & across[:, None, :] & chosen[:, None, None]
            mask *= 1.0 - hole.float()[:, None]
        share = torch.where(self._chance(count, 0.1), self._uniform(count, 0.0, 0.01), 0.0)
        hot = torch.rand((count, 1, side, side), generator=self._rng, device=self.device) < share[:, None, None, None]
        return mask * (~hot).float()

    def _prepared(
        self,
        image: Tensor,
        truth: Tensor,
        mask: Tensor,
        defects: tuple[Tensor, Tensor],
        noise: Tensor,
        kind: Tensor,
        pattern: Tensor,
        level: Tensor,
    ) -> Batch:
        b, side = image.shape[:2]
        working = (side // 2, side // 2)
        pixel = self.configuration.working_pixel
        whole = image[:, None].clone()
        holes = (mask == 0).flatten(1).any(dim=1)
        if bool(holes.any()):
            whole[holes] = filled(whole[holes], mask[holes], PIXEL)
        believed = F.avg_pool2d(mask, 2)
        scaled, _, scale = prepare(resample(whole, working), believed, pixel)
        clean = (truth[:, None] - truth.mean(dim=(1, 2))[:, None, None, None]) / scale
        # What the mean of the noisy image is off by cannot be known; errors are compared without means.
        weight = torch.ones_like(clean)
        index, positions = defects
        inside = ((positions >= 0) & (positions < side * PIXEL)).all(dim=1)
        index, positions = index[inside], positions[inside]
        spots = splatted(index, positions, torch.ones(len(index), 1, device=self.device), b, side, offset=0.0)
        near = blur(spots, DEFECT_RADIUS / PIXEL / 2)
        peak = 1 / (2 * torch.pi * (DEFECT_RADIUS / PIXEL / 2) ** 2)
        weight = weight + DEFECT_WEIGHT * (near / peak).clamp(0.0, 1.0)
        floor = 0.02 * noise / scale.square().flatten()
        return Batch(scaled, believed, clean, weight, floor, kind, pattern, level)
