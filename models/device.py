"""Where networks compute."""

from __future__ import annotations

AUTO = "auto"


def chosen(device: str) -> str:
    """Name of a torch device: ``"auto"`` is a GPU where torch sees one and the processor elsewhere, others stay."""
    if device != AUTO:
        return device
    import torch  # seconds of start-up that the command line does not need

    return "cuda" if torch.cuda.is_available() else "cpu"
