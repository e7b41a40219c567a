r"""Which atoms are missing or replaced, once the perfect crystal is known.

Every atomic column carries hypotheses: perfect, an atom missing, an atom replaced. Each says by how much the column
deviates from its like; the matched filter of ``reconstruction.point_images`` says by how much it does. With x the
deviation in units of the predicted one and v the variance of x, the log likelihood ratio over the perfect column is

.. math:: \tfrac12\left[x^2/v - (x - 1)^2/(v + ε^2) + \ln v/(v + ε^2)\right],

ε the relative error of the prediction. Defects are accepted from the clearest down, and what one of them adds to its
neighbours is taken off before those are judged. The density of defects, which is the prior, is estimated with them:
an image of a perfect crystal makes it small, and with it the number of false alarms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from microscopy.micrograph import Micrograph
from reconstruction.point_field import MIN_CELLS, Field, examine
from reconstruction.point_hypotheses import OTHER, VACANCY, Hypothesis
from reconstruction.point_images import centred
from reconstruction.records import PointDefect, PointDefects, Reconstruction

DETECTABLE = 4.5
"""Standard errors that a defect must amount to: below, noise makes as many among thousands of columns."""

PREDICTION_ERROR = 0.12
"""Relative error of an atom's predicted signal: the linear model, channelling within a column, relaxation (ε of a
vacancy; a substitution is the difference of two signals, and the error is that of the larger)."""

MAX_SPREAD = 0.35
"""Largest ε: with more, a deviation of the wrong sign would still count for a substitution."""

OTHER_SPREAD = 1.5
"""Standard deviation, in atoms, of a deviation that is neither: dirt, adatoms, the edge of a hole."""

GHOST = 0.1
"""Share of an accepted defect's signal at its neighbours that may be left after it is taken off."""

DENSITY = 0.01
DENSITY_WEIGHT = 50.0
"""Expected share of defective columns, and the number of columns that this expectation is worth."""

MAX_DENSITY = 0.2
"""Share of deviating columns beyond which the image shows another crystal rather than this one with defects."""

REPORTED = 0.9
"""Probability of being defective from which a column is reported."""

ROUNDS = 20
SETTLED = 0.01
"""Rounds of accepting and refitting at most, and the change of an amplitude, in atoms, that needs no further one."""


@dataclass(frozen=True, eq=False)
class _Judgement:
    """Columns against their hypotheses; H is the largest number of them.

    ``evidence`` (n, H): log likelihood ratio over the perfect column plus log share of the prior, -inf where there is
    no such hypothesis. ``amplitude`` (n, H): deviation in units of the predicted one. ``excess``: by kind, how much
    more like columns scatter than the noise explains, at least 1.
    """

    evidence: Float[np.ndarray, "n H"]
    amplitude: Float[np.ndarray, "n H"]
    excess: tuple[float, ...]

    def odds(self, density: float) -> Float[np.ndarray, " n"]:
        """Log odds of being defective."""
        return np.asarray(np.logaddexp.reduce(self.evidence, axis=1) + np.log(density / (1 - density)))


def with_point_defects(micrograph: Micrograph, reconstruction: Reconstruction) -> Reconstruction:
    """A reconstruction with the point defects of its image, or the reason why none could be seen."""
    return replace(reconstruction, defects=find_point_defects(micrograph, reconstruction))


def find_point_defects(micrograph: Micrograph, reconstruction: Reconstruction) -> PointDefects:
    """Find missing and replaced atoms, column by column.

    Parameters
    ----------
    micrograph
        The image that was reconstructed, as recorded: a denoiser may have healed its defects.
    reconstruction
        The perfect crystal.

    Returns
    -------
    PointDefects
        Nothing found, and a sentence why, where the dose allows no answer.

    Raises
    ------
    ReconstructionError
        If the micrograph has no pixel size.
    """
    cut, start = centred(micrograph)
    field = examine(cut, reconstruction, reconstruction.candidate.shift - start)
    if field is None:
        return PointDefects(0, {}, (), f"Fewer than {MIN_CELLS} whole cells are in view: too few to say what is usual.")
    sites = len(field.xy)
    untouched = np.zeros_like(field.projections.values)
    excess = _judge(field, untouched).excess
    detectable = _detectable(field, excess)
    limits = _limits(detectable)
    if max(detectable.values()) < DETECTABLE:
        return PointDefects(sites, detectable, (), limits)
    judged = _explain(field)
    density = _density(judged)
    if density > MAX_DENSITY:
        sentence = f"{100 * density:.0f} % of the columns deviate: this is another crystal, or a damaged one."
        return PointDefects(sites, detectable, (), f"{sentence} {limits}".strip())
    found, others = _report(field, judged, density, start)
    # The prior alone may make a weak signal likely where defects abound; what the note calls invisible is not reported.
    found = tuple(each for each in found if each.kind != VACANCY or detectable[each.element] >= DETECTABLE)
    if others:
        limits = f"{others} more columns deviate as no vacancy or substitution would. {limits}".strip()
    return PointDefects(sites, detectable, found, limits)


def _judge(
    field: Field, explained: Float[np.ndarray, "E n"], ghosts: Float[np.ndarray, " n"] | float = 0.0
) -> _Judgement:
    """Compare every column with its hypotheses.

    Parameters
    ----------
    field
        The columns.
    explained
        Of their projections, what defects at their neighbours explain.
    ghosts
        Variance of their amplitudes, in heaviest atoms, since it does so imperfectly.
    """
    power = field.projections.power
    ghosts = np.broadcast_to(ghosts, len(field.xy))
    shape = (len(field.xy), max(len(kind.hypotheses) for kind in field.kinds))
    evidence, amplitude, excesses = np.full(shape, -np.inf), np.zeros(shape), []
    for kind in field.kinds:
        values = field.projections.values[:, kind.part] - explained[:, kind.part]
        values = values - np.median(values[:, kind.near], axis=2)
        unit = power[kind.heaviest, kind.heaviest]
        # Distortion, drift and dirt make like columns scatter beyond the noise: their standard error is what they show.
        scatter = 1.4826 * float(np.median(np.abs(values[kind.heaviest])))
        excesses.append(max(1.0, scatter / np.sqrt(unit)))
        for number, each in enumerate(kind.hypotheses):
            norm = each.change @ power @ each.change
            error = excesses[-1] / np.sqrt(norm)
            x = each.change @ values / norm
            amplitude[kind.part, number] = x
            predicted, mean, spread = _expected(each, power[kind.heaviest] / unit)
            variance = error**2 + ghosts[kind.part] / predicted**2
            total = variance + spread**2
            ratio = 0.5 * (x**2 / variance - (x - mean) ** 2 / total + np.log(variance / total))
            evidence[kind.part, number] = np.log(each.share) + ratio
    return _Judgement(evidence, amplitude, tuple(excesses))


def _expected(hypothesis: Hypothesis, signals: Float[np.ndarray, " E"]) -> tuple[float, float, float]:
    """Deviation predicted, in heaviest atoms, and mean and spread of what is seen in units of it."""
    come, go = float(hypothesis.change.clip(0) @ signals), float(-hypothesis.change.clip(None, 0) @ signals)
    if hypothesis.kind == OTHER:
        return come, 0.0, OTHER_SPREAD
    return come - go, 1.0, min(PREDICTION_ERROR * max(come, go) / abs(come - go), MAX_SPREAD)


def _explain(field: Field) -> _Judgement:
    """Accept defects from the clearest down, refitting all as their neighbours become known; judge what then stands."""
    changes = np.zeros_like(field.projections.values)  # atoms of each element that came or went, by column
    explained = np.zeros_like(changes)
    accepted = np.zeros(len(field.xy), dtype=bool)
    judged = _judge(field, explained)
    for _ in range(ROUNDS):
        likely = judged.odds(DENSITY)
        blocked = np.zeros_like(accepted)
        for at in np.argsort(-likely)[: int((likely > 0).sum())].tolist():
            if not accepted[at] and not blocked[at]:
                accepted[at] = True
                blocked[field.neighbours(at)] = True
        target = _fitted(field, judged, accepted & (likely > 0))
        moved = np.nonzero(np.abs(target - changes).max(axis=0) > SETTLED)[0]
        if not len(moved):
            break
        for at in moved.tolist():
            near = field.neighbours(at)
            explained[:, near] += field.spill(target[:, at] - changes[:, at], at, near)
            changes[:, at] = target[:, at]
        judged = _judge(field, explained, _ghosts(field, changes))
    return judged


def _fitted(field: Field, judged: _Judgement, accepted: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "E n"]:
    """Atoms that come or go at accepted columns: those of the likeliest hypothesis, as many as the image shows."""
    best = judged.evidence.argmax(axis=1)
    changes = np.zeros_like(field.projections.values)
    for kind in field.kinds:
        for at in np.nonzero(accepted[kind.part])[0] + kind.part.start:
            changes[:, at] = kind.hypotheses[best[at]].change * judged.amplitude[at, best[at]]
    return changes


def _ghosts(field: Field, changes: Float[np.ndarray, "E n"]) -> Float[np.ndarray, " n"]:
    """Variance of each column's amplitude from what defects at its neighbours leave behind, in heaviest atoms."""
    heaviest = np.concatenate([np.full(kind.part.stop - kind.part.start, kind.heaviest) for kind in field.kinds])
    unit = np.diag(field.projections.power)
    variance = np.zeros(len(field.xy))
    for at in np.nonzero(changes.any(axis=0))[0].tolist():
        near = field.neighbours(at)
        own = heaviest[near]
        spilled = field.spill(changes[:, at], at, near)[own, np.arange(len(near))]
        variance[near] += (GHOST * spilled / unit[own]) ** 2
    return variance


def _density(judged: _Judgement) -> float:
    """Share of defective columns by expectation and maximisation; a perfect image leaves what was expected before."""
    density, count = DENSITY, len(judged.evidence)
    for _ in range(100):
        expected = float(np.exp(-np.logaddexp(0.0, -judged.odds(density))).sum())
        density = (expected + DENSITY * DENSITY_WEIGHT) / (count + DENSITY_WEIGHT)
    return density


def _report(
    field: Field, judged: _Judgement, density: float, start: tuple[float, float]
) -> tuple[tuple[PointDefect, ...], int]:
    """Defects, most probable first, and the number of columns that deviate in another way."""
    odds = judged.odds(density)
    log_prior = np.log(density / (1 - density))
    probabilities = np.exp(judged.evidence + log_prior - np.logaddexp(0.0, odds)[:, None])
    best = judged.evidence.argmax(axis=1)
    unit = np.diag(field.projections.power)
    found, others = [], 0
    for kind in field.kinds:
        for at in np.nonzero(odds[kind.part] > np.log(REPORTED / (1 - REPORTED)))[0] + kind.part.start:
            each = kind.hypotheses[best[at]]
            if each.kind == OTHER:
                others += 1
                continue
            number = int(np.argmax(each.change < 0))  # the element that goes
            strength = judged.amplitude[at, best[at]] * (each.change @ field.projections.power[number]) / unit[number]
            x, y = field.xy[at] + start
            found.append(
                PointDefect(
                    kind=each.kind,
                    element=each.element,
                    replaced_by=each.replaced_by,
                    position=(float(x), float(y)),
                    cell=(int(field.cell[at, 0]), int(field.cell[at, 1])),
                    site=kind.column.sites[each.element][0],
                    strength=float(strength),
                    probability=float(probabilities[at, best[at]]),
                )
            )
    return tuple(sorted(found, key=lambda defect: -defect.probability)), others


def _detectable(field: Field, excess: tuple[float, ...]) -> dict[str, float]:
    """By element, standard errors that one missing atom amounts to, in the column that shows it least."""
    power, worst = field.projections.power, dict[str, float]()
    for kind, factor in zip(field.kinds, excess, strict=True):
        for symbol in kind.column.sites:
            number = field.symbols.index(symbol)
            snr = float(np.sqrt(power[number, number]) / factor)
            worst[symbol] = min(snr, worst.get(symbol, snr))
    return worst


def _limits(detectable: Mapping[str, float]) -> str:
    """Say what one missing atom would amount to where that is too little to see."""
    hidden = {symbol: snr for symbol, snr in detectable.items() if snr < DETECTABLE}
    sentences = [
        f"A missing {symbol} would be {snr:.1f} standard errors, too few to tell it from noise; "
        f"about {max((DETECTABLE / max(snr, 1e-3)) ** 2, 1.1):.2g} times the dose would be needed."
        for symbol, snr in hidden.items()
    ]
    return " ".join(sentences)
