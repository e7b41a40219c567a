"""One training run by Lightning, which goes on from its last checkpoint when it is started again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from models.divaesr import weights
from models.divaesr.bank import CrystalBank
from models.divaesr.configuration import Configuration
from models.divaesr.expert import Expert
from models.divaesr.mixture import Mixture
from models.divaesr.training import DenoiserTraining, PatternTraining, Schedule, Seeds

VALIDATION_STEPS = 16

NETWORKS = ("mixture", "patterns", "single", "wide")
"""What can be trained: the mixture; of a mixture only what reads the pattern family; one expert on every kind; one
network with as many parameters as all experts."""


def network_of(name: str, configuration: Configuration) -> Mixture | Expert:
    """Build a network to train."""
    if name in ("mixture", "patterns"):
        return Mixture(configuration)
    if name == "single":
        return Expert(configuration)
    # Parameters grow with the square of the width.
    factor = len(configuration.kinds) ** 0.5
    return Expert(replace(configuration, widths=tuple(round(factor * width) for width in configuration.widths)))


def train(
    training: CrystalBank,
    validation: CrystalBank,
    out: Path,
    configuration: Configuration,
    schedule: Schedule,
    network: str = "mixture",
    start: Path | None = None,
    progress: bool = True,
    facts: dict[str, Any] | None = None,
) -> dict[str, float]:
    """Train and write weights (of a mixture), metrics and logs into ``out``.

    Parameters
    ----------
    training, validation
        Crystals of disjoint materials.
    out
        ``last.ckpt`` in it is gone on from.
    configuration, schedule
        What is trained, and how.
    network
        One of `NETWORKS`.
    start
        Weights to start from instead of random ones: a folder of a mixture's, or the file of one network, of which
        every expert of a mixture then becomes a copy.
    progress
        Show a progress bar.
    facts
        For the manifest, beside what is known here.

    Returns
    -------
    dict
        What the network reaches on materials it has not seen.
    """
    out.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(schedule.seed, verbose=False)
    torch.set_float32_matmul_precision("high")
    built = network_of(network, configuration)
    if start:
        weights.resume(built, start)
    if torch.cuda.is_available():
        built.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs lack it
    rest = (configuration, training, validation, schedule)
    if network == "patterns" and isinstance(built, Mixture):
        module: DenoiserTraining = PatternTraining(built.train(), *rest)
    else:
        module = DenoiserTraining(built.train(), *rest)
    checkpoint = ModelCheckpoint(out, filename="step", save_last=True, every_n_train_steps=500, save_top_k=0)
    callbacks: list[lightning.Callback] = [checkpoint]
    loggers: list[Any] = [CSVLogger(out, name="", version="")]
    gpu = torch.cuda.is_available()
    trainer = lightning.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=1,
        precision="bf16-mixed" if gpu else "32-true",
        max_steps=schedule.steps,
        callbacks=callbacks,
        logger=loggers,
        log_every_n_steps=50,
        gradient_clip_val=1.0,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=VALIDATION_STEPS,
        check_val_every_n_epoch=None,
        val_check_interval=max(1, schedule.steps // 4),
    )
    last = out / "last.ckpt"
    first = schedule.seed * 10**8 + schedule.first
    if last.exists():  # Lightning starts the data anew
        first += int(torch.load(last, map_location="cpu", weights_only=False, mmap=True)["global_step"])
    trainer.fit(
        module,
        DataLoader(Seeds(first, schedule.steps), batch_size=None),
        DataLoader(Seeds(0, VALIDATION_STEPS), batch_size=None),
        ckpt_path=last if last.exists() else None,
        weights_only=False if last.exists() else None,
    )
    found = trainer.validate(module, DataLoader(Seeds(0, VALIDATION_STEPS), batch_size=None), verbose=False)[0]
    reached = {name: round(float(value), 4) for name, value in found.items()}
    content = {
        **(facts or {}),
        "network": network,
        "schedule": asdict(schedule),
        "steps_done": trainer.global_step,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "parameters": sum(p.numel() for p in built.parameters()),
        "reached": reached,
    }
    (out / "metrics.json").write_text(json.dumps(content, indent=1) + "\n")
    if isinstance(built, Mixture):
        weights.save(built, out / "weights", content)
    else:
        weights.save_network(built, out / "network.safetensors")
    return reached
