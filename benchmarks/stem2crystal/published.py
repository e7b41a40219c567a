"""What STEM2Crystal-Bench reports, for printing beside ours.

Chen and You, "From Noisy STEM to Crystal Structure: Evidence-Structure CoDiffusion under Composition Constraints",
KDD 2026; leaderboard of its repository, 2026-06-10. Synthetic: 1,021 structures of C2DB and MC2D prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping

Figures = Mapping[str, float | None]

COLUMNS = ("Hit1", "Hit5", "MinRMS_median", "MinRMS_mean", "Match_abs", "RMSD_A", "SG_Acc", "W1_b", "W1_gamma")


def _row(*values: float | None) -> Figures:
    return dict(zip(COLUMNS, values, strict=True))


SYNTHETIC: Mapping[str, Mapping[str, Figures]] = {
    "low": {
        "SCCD (co-diffusion)": _row(0.5867, 0.8217, 0.0536, 0.1206, 0.7855, 0.2063, 0.2693, 0.1331, 2.0072),
        "DiffCSP (composition only)": _row(0.5426, 0.7973, 0.0666, 0.1250, 0.6160, None, 0.2214, 32.8835, 2.2427),
        "MicroscopyGPT": _row(0.1371, 0.1371, 0.1759, 0.1670, 0.1234, None, 0.0930, 1.3988, 3.9974),
    },
    "mid": {
        "SCCD (co-diffusion)": _row(0.5769, 0.8257, 0.0630, 0.1234, 0.7855, None, 0.2752, 0.1328, 1.9814),
        "DiffCSP (composition only)": _row(0.5426, 0.7973, 0.0666, 0.1250, 0.6160, None, 0.2214, 32.8835, 2.2427),
        "MicroscopyGPT": _row(0.1361, 0.1361, 0.1547, 0.1726, 0.1283, None, 0.1019, 1.4825, 3.2387),
    },
    "high": {
        "SCCD (co-diffusion)": _row(0.5847, 0.8286, 0.0612, 0.1230, 0.7963, None, 0.2703, 0.1260, 2.1703),
        "DiffCSP (composition only)": _row(0.5426, 0.7973, 0.0666, 0.1250, 0.6160, None, 0.2214, 32.8835, 2.2427),
        "MicroscopyGPT": _row(0.1312, 0.1312, 0.1555, 0.1549, 0.1263, None, 0.0881, 1.4370, 2.6711),
    },
}
"""By noise level and method."""
