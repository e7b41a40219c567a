"""Atoms in a field of view: crystals and what is wrong with them.

One batch is a flat list of atoms with the index of the image that each belongs to. Image frame: x along columns, y down
the rows, in Å from the corner of the field of view.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.divaesr.bank import CrystalBank

MARGIN = 3.2
"""Å beyond the field of view in which atoms are still placed."""

SHARES = {"boundary": 0.12, "edge": 0.12, "patch": 0.10, "amorphous": 0.05, "empty": 0.03}
"""Probability of each kind of imperfect specimen; the others are one crystal throughout."""

DEFECTIVE, DEFECT_RATES = 0.45, (0.003, 0.05)
"""Share of images with point defects, and the least and greatest share of their atoms."""

SUBSTITUTED, STRAINED = 0.5, 0.3
"""Shares of images whose elements are exchanged for others, and whose lattice is strained."""

STRAIN, SMALL_STRAIN = 0.12, 0.01
"""Standard deviation of strain where there is much, and where there is little."""

ELEMENTS = (3, 84)
"""Atomic numbers of exchanged elements, from and below."""

LAYER_DENSITY = 0.25
"""Atoms per Å² of amorphous material."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms of B specimens.

    Attributes
    ----------
    image
        Index of the image, (N,).
    positions
        (x, y) in Å, (N, 2).
    numbers
        Atomic numbers, (N,).
    patterns
        Index into ``configuration.PATTERNS`` of each specimen, -1 where it is not to be said, (B,).
    defects
        Image and (x, y) of each defective site: index (D,) and positions (D, 2).
    """

    image: Tensor
    positions: Tensor
    numbers: Tensor
    patterns: Tensor
    defects: tuple[Tensor, Tensor]


class Specimens:
    """Draws specimens from a bank.

    Parameters
    ----------
    bank
        Crystals.
    device
        Where everything is computed.
    """

    def __init__(self, bank: CrystalBank, device: torch.device) -> None:
        self.device = device
        self.cells = torch.from_numpy(bank.cells).to(device)
        self.fractions = torch.from_numpy(bank.fractions).to(device)
        self.numbers = torch.from_numpy(bank.numbers).to(device)
        self.patterns = torch.from_numpy(bank.patterns).to(device)
        self.chances = torch.from_numpy(bank.chances).to(device)

    def draw(self, count: int, side: float, rng: torch.Generator) -> Atoms:
        """Draw ``count`` specimens that fill a square field of view of ``side`` Å."""
        self._rng, b = rng, count
        which = torch.multinomial(self.chances, b, replacement=True, generator=rng)
        kinds = torch.multinomial(self._shares(), b, replacement=True, generator=rng)
        boundary, edge, patch, amorphous, empty = (kinds == index for index in range(1, 6))
        cells, strained = self._cells(which)
        numbers = self._exchanged(self.numbers[which])
        normal = self._unit(b)
        cut = side * (0.5 * normal.sum(dim=1) + self._uniform(b, -0.3, 0.3))
        centre, radius = side * self._uniform((b, 2), 0.1, 0.9), self._uniform(b, 3.0, 0.35 * side)

        parts = []
        # The second grain is the same crystal, turned, on the other side of the boundary.
        for grain in (0, 1):
            if grain:
                cells = cells @ self._rotations(b)
            image, positions, atoms = self._filled(cells, self.fractions[which], numbers, side)
            beyond = (positions * normal[image]).sum(dim=1) > cut[image]
            inside = ((positions - centre[image]) ** 2).sum(dim=1) < radius[image] ** 2
            keep = ~(amorphous | empty)[image] & ~(patch[image] & inside)
            keep &= (beyond & boundary[image]) if grain else ~(beyond & (boundary | edge)[image])
            parts.append((image[keep], positions[keep], atoms[keep]))
        parts.append(self._amorphous(patch, amorphous, centre, radius, numbers, side))
        image, positions, atoms = (torch.cat(each) for each in zip(*parts, strict=True))
        image, positions, atoms, defects = self._defective(image, positions, atoms, b)

        patterns = torch.where(strained, -1, self.patterns[which])
        patterns = torch.where(amorphous | empty, 4, torch.where(boundary | edge | patch, -1, patterns))
        return Atoms(image, positions, atoms, patterns, defects)

    def _shares(self) -> Tensor:
        shares = [1.0 - sum(SHARES.values()), *SHARES.values()]
        return torch.tensor(shares, device=self.device)

    def _uniform(self, shape: int | tuple[int, ...], low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self._rng, device=self.device)

    def _unit(self, count: int) -> Tensor:
        angle = self._uniform(count, 0.0, 2 * torch.pi)
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    def _rotations(self, count: int) -> Tensor:
        """Rotations for row vectors, half of them after a mirror, (B, 2, 2)."""
        u = self._unit(count)
        turn = torch.stack([u, torch.stack([-u[:, 1], u[:, 0]], dim=1)], dim=1)
        mirror = torch.rand(count, generator=self._rng, device=self.device) < 0.5
        return torch.where(mirror[:, None, None], turn * torch.tensor([-1.0, 1.0], device=self.device), turn)

    def _cells(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Cells, turned and strained, and which of them are strained too much to name their family."""
        b = len(which)
        strained = torch.rand(b, generator=self._rng, device=self.device) < STRAINED
        size = torch.where(strained, STRAIN, SMALL_STRAIN)[:, None, None]
        noise = torch.randn((b, 2, 2), generator=self._rng, device=self.device).clamp(-2, 2)
        strain = torch.eye(2, device=self.device) + size * noise
        # Strain belongs to the scan: after the rotation, in the frame of the image.
        return self.cells[which] @ self._rotations(b) @ strain, strained

    def _exchanged(self, numbers: Tensor) -> Tensor:
        """Exchange the elements of some specimens for others, alike for alike."""
        b = len(numbers)
        table = torch.randint(*ELEMENTS, (b, 120), generator=self._rng, device=self.device)
        table[:, 0] = 0
        chosen = torch.rand(b, generator=self._rng, device=self.device) < SUBSTITUTED
        return torch.where(chosen[:, None], table.gather(1, numbers), numbers)

    def _filled(self, cells: Tensor, fractions: Tensor, numbers: Tensor, side: float) -> tuple[Tensor, Tensor, Tensor]:
        """Atoms of endless crystals, at a random origin, within the field of view and its margin."""
        b = len(cells)
        corners = torch.tensor([[x, y] for x in (-MARGIN, side + MARGIN) for y in (-MARGIN, side + MARGIN)])
        inverse = torch.linalg.inv(cells)
        reach = corners.to(self.device) @ inverse  # (B, 4, 2), lattice coordinates
        low, high = reach.amin(dim=1).floor() - 1, reach.amax(dim=1).ceil()
        counts = (high - low).amax(dim=0).long() + 1
        i, j = (torch.arange(int(n), device=self.device) for n in counts)
        steps = torch.stack(torch.meshgrid(i, j, indexing="ij"), dim=-1).reshape(-1, 2)
        origin = torch.rand((b, 1, 2), generator=self._rng, device=self.device)
        translations = (low[:, None] + steps + origin) @ cells  # (B, T, 2)
        sites = fractions @ cells  # (B, A, 2)
        positions = translations[:, :, None] + sites[:, None]
        keep = (numbers > 0)[:, None] & ((positions > -MARGIN) & (positions < side + MARGIN)).all(dim=-1)
        image, translation, site = torch.nonzero(keep, as_tuple=True)
        return image, positions[image, translation, site], numbers[image, site]

    def _amorphous(
        self, patch: Tensor, amorphous: Tensor, centre: Tensor, radius: Tensor, numbers: Tensor, side: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Atoms at random places, of the elements of the crystal, within the patch or everywhere."""
        b, most = len(numbers), int(LAYER_DENSITY * (side + 2 * MARGIN) ** 2)
        density = torch.rand((b, 1), generator=self._rng, device=self.device)
        present = torch.rand((b, most), generator=self._rng, device=self.device) < 0.3 + 0.7 * density
        positions = self._uniform((b, most, 2), -MARGIN, side + MARGIN)
        inside = ((positions - centre[:, None]) ** 2).sum(dim=-1) < radius[:, None] ** 2
        keep = present & (amorphous[:, None] | (patch[:, None] & inside))
        columns = torch.randint(0, 2**31 - 1, (b, most), generator=self._rng, device=self.device)
        atoms = numbers.gather(1, columns % (numbers > 0).sum(dim=1, keepdim=True))
        image, which = torch.nonzero(keep, as_tuple=True)
        return image, positions[image, which], atoms[image, which]

    def _defective(
        self, image: Tensor, positions: Tensor, numbers: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Remove or replace atoms, each independently of all others."""
        chosen = torch.rand(count, generator=self._rng, device=self.device) < DEFECTIVE
        low, high = DEFECT_RATES
        rate = torch.where(chosen, low * (high / low) ** self._uniform(count, 0.0, 1.0), 0.0)
        chance = torch.rand(len(image), generator=self._rng, device=self.device)
        missing = chance < 0.7 * rate[image]
        replaced = ~missing & (chance < rate[image])
        others = torch.randint(*ELEMENTS, numbers.shape, generator=self._rng, device=self.device)
        numbers = torch.where(replaced, others, numbers)
        defects = (image[missing | replaced], positions[missing | replaced])
        return image[~missing], positions[~missing], numbers[~missing], defects
