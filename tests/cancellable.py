"""A flow that takes too long, for processes that a test starts."""

from __future__ import annotations

import os
import time
from pathlib import Path

from prefect import flow


@flow(name="endless", validate_parameters=False)
def endless(sign: str) -> None:
    """Write the number of this process into a file, then do nothing for minutes."""
    Path(sign).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(600)
