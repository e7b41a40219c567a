"""What each branch of the planner changes about the search."""

from __future__ import annotations

from dataclasses import dataclass, replace

from planning.records import Branch
from reconstruction.retrieval import RetrievalOptions

WIDE_STRAIN = 0.20
"""Largest strain of a widened search: pixel sizes in files are off by up to 10 %, scans are sheared by as much."""


@dataclass(frozen=True)
class Search:
    """How an attempt searches, which of the hypotheses found it takes, and whether it sees the lattice denoised."""

    options: RetrievalOptions
    rank: int = 0
    denoised: bool = False

    def after(self, branch: Branch) -> Search:
        """Search of the attempt that a branch leads to."""
        options = self.options
        match branch:
            case Branch.REDENOISE:
                return replace(self, rank=0, denoised=True)
            case Branch.NEXT_TEMPLATE:
                return replace(self, rank=self.rank + 1)
            case Branch.WIDEN_SEARCH:
                return self._with(replace(options, strain=max(WIDE_STRAIN, options.strain)))
            case Branch.TRY_SUPERCELL:
                return self._with(replace(options, supercells=True))
            case Branch.SUBSTITUTE:
                return self._with(replace(options, substitute=True))
            case Branch.TEMPLATE_FREE:
                return self._with(replace(options, template_free=True))
            case Branch.DROP_ELEMENT_FILTER:
                return self._with(replace(options, use_elements=False))
        raise ValueError(f"{branch} leads to no attempt")

    def _with(self, options: RetrievalOptions) -> Search:
        return replace(self, options=options, rank=0)
