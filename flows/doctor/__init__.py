"""``automat doctor``: look at everything a run relies on, and say what is wrong and what to do.

===============  =========================================================================
``finding``      what a check found: one line and a remedy
``running``      checks side by side, each within its time, whatever it does
``masking``      no secret leaves the examination
``examination``  which checks there are
``packages``     Python and packages: ranges, and what is known to break
``imports``      what matters can be imported (``probe`` tries it), and the GPUs
``science``      denoiser, template libraries, potential, elemental references
``machine``      memory and processors
``folders``      cache, results, temporary files: room, and who else can write there
``credentials``  files of secrets, the language model
``workers``      workers of this machine
``api``          Prefect's API over plain HTTP
``server``       the server: version, authentication, database, services, clock
``deployed``     work pools and their workers, deployments, schedules, the heartbeat automation
``runs``         runs that stand still
``drops``        a watched folder and its ledger
``words``        times as people say them
``terminal``     what a person sees
===============  =========================================================================

Checks look and change nothing. Each is a plain function that returns a `Finding`, or several.
"""

from __future__ import annotations

from flows.doctor.examination import examination
from flows.doctor.finding import Finding, State
from flows.doctor.running import examine

__all__ = ["Finding", "State", "examination", "examine"]
