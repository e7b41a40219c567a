"""The training as Lightning sees it: seeds in, losses out; images are made on the device that trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import IterableDataset

from models.divaesr import losses
from models.divaesr.bank import CrystalBank
from models.divaesr.configuration import Configuration
from models.divaesr.expert import Expert
from models.divaesr.families import repeats
from models.divaesr.gate import Opinion
from models.divaesr.imaging import Batch, Phantoms
from models.divaesr.mixture import Mixture

VALIDATION_SEED = 10**12
"""Seeds of validation images start here, far from those of training."""


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    Attributes
    ----------
    steps
        Optimiser steps in all.
    each
        Images of every kind in a step.
    side
        Pixels of 0.1 Å along an image.
    joint
        Share of the steps, at the end, in which the gate decides and all is trained together; before, experts see
        images of their own kind.
    rate
        Highest learning rate; it rises over the first `warm` share of the steps and falls as a cosine to nothing.
    seed
        Of the images.
    first
        Number of the first step: a training that goes on from another's weights needs other images.
    """

    steps: int = 10_000
    each: int = 8
    side: int = 384
    joint: float = 0.25
    rate: float = 1e-3
    warm: float = 0.03
    seed: int = 0
    first: int = 0


class Seeds(IterableDataset[int]):
    """One seed a step, so that the same training sees the same images, resumed or not."""

    def __init__(self, first: int, count: int) -> None:
        super().__init__()
        self.first, self.count = first, count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.first + self.count))

    def __len__(self) -> int:
        return self.count


class DenoiserTraining(lightning.LightningModule):
    """Trains a `Mixture`, or one `Expert` on every kind (to compare with).

    Parameters
    ----------
    network
        What is trained.
    configuration
        Kinds of image and the working grid.
    training, validation
        Crystals, of disjoint materials.
    schedule
        See `Schedule`.
    """

    def __init__(
        self,
        network: Mixture | Expert,
        configuration: Configuration,
        training: CrystalBank,
        validation: CrystalBank,
        schedule: Schedule,
    ) -> None:
        super().__init__()
        self.network, self.configuration, self.schedule = network, configuration, schedule
        self._banks = {"fit": training, "validate": validation}
        self._phantoms: dict[str, Phantoms] = {}

    def images(self, which: str, seed: int, each: int) -> Batch:
        """Images of a step."""
        if which not in self._phantoms:
            self._phantoms[which] = Phantoms(self._banks[which], self.configuration, self.device)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return self._phantoms[which].draw(seed, each, self.schedule.side)

    def training_step(self, seed: int, index: int) -> Tensor | None:
        """Loss of one batch."""
        batch = self.images("fit", int(seed), self.schedule.each)
        # The joint phase sends other numbers of images to the experts in every step: nothing to tune for.
        joint = self.global_step >= (1 - self.schedule.joint) * self.schedule.steps
        torch.backends.cudnn.benchmark = isinstance(self.network, Expert) or not joint
        if isinstance(self.network, Expert):
            loss = self._single(self.network, batch)
        elif joint:
            loss = self._together(self.network, batch)
        else:
            loss = self._apart(self.network, batch)
        self.log("loss", loss, prog_bar=True)
        return loss

    def _single(self, network: nn.Module, batch: Batch) -> Tensor:
        image, latent = network(batch.image, batch.mask)
        fit = losses.restoration(image, batch.truth, batch.weight, batch.floor)
        return fit + losses.KL * losses.divergence((latent,))

    def _apart(self, network: Mixture, batch: Batch) -> Tensor:
        """Every expert on its own kind, the gate on knowing the kinds."""
        answers = [
            expert(image, mask)
            for expert, image, mask in zip(
                network.experts,
                batch.image.chunk(len(network.experts)),
                batch.mask.chunk(len(network.experts)),
                strict=True,
            )
        ]
        image = torch.cat([image for image, _ in answers])
        fit = losses.restoration(image, batch.truth, batch.weight, batch.floor)
        opinion = network.gate(batch.image, batch.mask)
        latents = tuple(latent for _, latent in answers)
        gate = losses.gating(opinion, batch.kind, batch.level, batch.pattern)
        self.log("gate", gate)
        return fit + losses.KL * losses.divergence(latents) + gate

    def _together(self, network: Mixture, batch: Batch) -> Tensor:
        """The gate decides, and learns from what its decision was worth."""
        mixed = network(batch.image, batch.mask)
        fit = losses.restoration(mixed.image, batch.truth, batch.weight, batch.floor)
        gate = losses.gating(mixed.opinion, batch.kind, batch.level, batch.pattern)
        balance = losses.balance(mixed.opinion, mixed.weights)
        return fit + losses.KL * losses.divergence(mixed.latents) + gate + losses.BALANCE * balance

    def validation_step(self, seed: int, index: int) -> None:
        """PSNR by kind on other materials, and how often the gate is right."""
        torch.backends.cudnn.benchmark = False
        batch = self.images("validate", VALIDATION_SEED + int(seed), self.schedule.each)
        if isinstance(self.network, Expert):
            image, _ = self.network(batch.image, batch.mask)
        else:
            mixed = self.network(batch.image, batch.mask)
            image = mixed.image
            self._report_gate(mixed.opinion, batch)
        for kind, name in enumerate(self.configuration.kinds):
            own = batch.kind == kind
            self._report(f"psnr_{name}", psnr(image[own], batch.truth[own]).mean())
        self._report("psnr", psnr(image, batch.truth).mean())

    def _report_gate(self, opinion: Opinion, batch: Batch) -> None:
        known = batch.pattern >= 0
        right = (opinion.patterns.argmax(1) == batch.pattern) & known
        self._report("gate_kind", (opinion.experts.argmax(1) == batch.kind).float().mean())
        self._report("gate_pattern", right.sum() / known.sum().clamp_min(1))
        self._report("gate_level_dB", (opinion.level - batch.level).abs().mean())

    def _report(self, name: str, value: Tensor) -> None:
        self.log(f"val_{name}", value, batch_size=1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, warmed up, cosine."""
        s = self.schedule
        learning = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=s.rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, s.rate, total_steps=s.steps + 1, pct_start=s.warm, div_factor=10, final_div_factor=1e3
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class PatternTraining(DenoiserTraining):
    """Teaches the gate of a trained mixture to read pattern families; nothing else of it changes."""

    network: Mixture

    def __init__(
        self,
        network: Mixture,
        configuration: Configuration,
        training: CrystalBank,
        validation: CrystalBank,
        schedule: Schedule,
    ) -> None:
        super().__init__(network, configuration, training, validation, schedule)
        network.requires_grad_(False)
        network.gate.families.requires_grad_(True)

    def training_step(self, seed: int, index: int) -> Tensor | None:
        """Loss of one batch; None if no family of it is to be said."""
        batch = self.images("fit", int(seed), self.schedule.each)
        said = batch.pattern >= 0
        if not bool(said.any()):
            return None
        polar = repeats(batch.image[said], batch.mask[said], self.configuration.working_pixel)
        loss = F.cross_entropy(self.network.gate.families(polar), batch.pattern[said])
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, seed: int, index: int) -> None:
        """How often the gate is right on other materials."""
        batch = self.images("validate", VALIDATION_SEED + int(seed), self.schedule.each)
        self._report_gate(self.network.gate(batch.image, batch.mask), batch)


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images without their means, (B,); the peak is the range of the truth."""
    error = (image - truth) - (image - truth).mean(dim=(1, 2, 3), keepdim=True)
    span = (truth.amax(dim=(1, 2, 3)) - truth.amin(dim=(1, 2, 3))).clamp_min(1e-6)
    return 10 * torch.log10(span**2 / error.square().mean(dim=(1, 2, 3)).clamp_min(1e-12))
