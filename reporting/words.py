"""Numbers and verdicts in the words of a microscopist, for the report and the terminal alike."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from ase.data import atomic_numbers

from planning.records import Branch, Status
from reporting.result import AttemptResult, DefectsResult, Result

_SPACE = "\N{NO-BREAK SPACE}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

BRANCHES = {
    Branch.ACCEPT: "Kept the structure",
    Branch.REDENOISE: "Looked for the lattice in the denoised image",
    Branch.NEXT_TEMPLATE: "Tried the next template",
    Branch.WIDEN_SEARCH: "Widened the search",
    Branch.TRY_SUPERCELL: "Tried larger cells of known structures",
    Branch.SUBSTITUTE: "Tried known structures with the elements given",
    Branch.TEMPLATE_FREE: "Built structures from the image alone",
    Branch.DROP_ELEMENT_FILTER: "Searched without the element filter",
    Branch.GIVE_UP: "Stopped",
}

CHOOSERS = {
    "rules": "chosen by the built-in rules",
    "llm": "chosen by the language model",
    "replay": "replayed from an earlier run",
    "none": "the planner is switched off",
}

ORIGINS = {
    "template": "known structure",
    "substitution": "known structure type, other elements",
    "free": "built from the image alone",
}

_STAGES = {
    "ingest": "reading the image",
    "straighten": "straightening the scan",
    "denoise": "denoising",
    "retrieve": "searching the library",
    "reconstruct": "reconstructing the crystal",
    "defects": "looking for point defects",
    "relax": "relaxing the crystal",
    "verify": "verifying the crystal",
    "report": "writing the report",
}


def formula(text: str) -> str:
    """Give a formula its subscripts: MoS2 → MoS₂."""
    return re.sub(r"(?<=[A-Za-z)])\d+", lambda match: match[0].translate(_SUBSCRIPTS), text)


def percent(fraction: float | None) -> str:
    """Probability as a percentage that never claims certainty."""
    if fraction is None:
        return "unknown"
    if fraction > 0.999:
        return f">{_SPACE}99.9{_SPACE}%"
    if 0.0 < fraction < 0.001:
        return f"<{_SPACE}0.1{_SPACE}%"
    digits = 1 if fraction < 0.1 or fraction > 0.99 else 0
    return f"{100 * fraction:.{digits}f}{_SPACE}%"


def number(value: float | None, digits: int = 4) -> str:
    """Format to ``digits`` significant digits; an en dash when there is no value."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if not -4 <= magnitude < 6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        power = str(int(exponent)).translate(_SUPERSCRIPTS)
        return f"{_trimmed(mantissa)} × 10{power}".replace("-", "−")
    return _trimmed(f"{value:.{max(0, digits - 1 - magnitude)}f}").replace("-", "−")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def measured(value: float, error: float | None, unit: str = "") -> str:
    """Give a value with its standard error, to the digits the error supports: 3.184 ± 0.004 Å."""
    tail = f"{_SPACE}{unit}" if unit and unit != "°" else unit
    if error is None or not error > 0:
        return f"{value:.3f}{tail}"
    decimals = max(0, -math.floor(math.log10(error)))
    if f"{error:.{decimals}e}"[0] == "1":
        decimals += 1  # 0.012, not 0.01: a first digit of 1 alone is too coarse
    decimals = min(decimals, 5)
    shown = f"{error:.{decimals}f}"
    between = f"{unit if unit == '°' else ''}{_SPACE}±{_SPACE}"
    return f"{value:.{decimals}f}{between}{shown}{tail}"


def attempt(step: AttemptResult) -> str:
    """Say what an attempt came to: the structure, how sure that is, and which checks it failed."""
    found = step.found
    if found is None:
        return "A stage of this attempt failed."
    if not found.formula:
        return f"No structure fits: {_listed(found.failed)} failed."
    known = f" ({found.template})" if found.template else ""
    made = "" if found.origin == "template" else f", {ORIGINS[found.origin]}"
    outcome = f"{_listed(found.failed)} failed" if found.failed else "every check passed"
    return f"{formula(found.formula)}{known}{made}: {outcome}; confidence {percent(found.confidence)}."


def _listed(names: Sequence[str]) -> str:
    words = [name.replace("_", " ") for name in names]
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def alike(symbol: str, others: Sequence[str]) -> str:
    """Name the elements that an image cannot tell from one, neighbours in the periodic table as ranges: V–Fe, Ga."""
    if not others:
        return "no other"
    runs: list[list[str]] = []
    for number, other in sorted((atomic_numbers[other], other) for other in others):
        before = atomic_numbers[runs[-1][-1]] if runs else 0
        if before and all(between == atomic_numbers[symbol] for between in range(before + 1, number)):
            runs[-1].append(other)
        else:
            runs.append([other])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def title(result: Result) -> str:
    """Name the answer in a word or two; nothing is named that the run does not stand behind."""
    if result.status is Status.FAILED:
        return "Not processed"
    if result.structure is None or result.status is Status.REJECTED:
        return "Not identified"
    return formula(result.structure.formula) + ("?" if result.status is Status.AMBIGUOUS else "")


def verdict_sentence(result: Result) -> str:
    """Say what was found and how sure that is, in one or two sentences."""
    found = result.structure
    match result.status:
        case Status.FAILED:
            stage = _STAGES.get(result.error.stage, "processing") if result.error else "processing"
            return f"The run stopped while {stage}: {result.reason}"
        case Status.ACCEPTED if found:
            return f"This is {_description(result)}. Confidence {percent(result.confidence)}."
        case Status.AMBIGUOUS if found:
            return f"Most likely {_description(result)}, but the image does not settle it. {_rivals(result)}"
        case _ if found:
            return (
                f"No structure can be reported with confidence. The best attempt, {formula(found.formula)}, "
                f"is shown for inspection only. {_failed_checks(result)}"
            )
        case _:
            return f"No crystal was found in this image: {result.reason or 'no reason was recorded'}."


def defects(examined: DefectsResult) -> str:
    """Count the point defects: 3 point defects in 525 atomic columns."""
    count = len(examined.found)
    number = f"{count or 'no'} point defect{'' if count == 1 else 's'}"
    return f"{number} in {examined.sites} atomic column{'' if examined.sites == 1 else 's'}"


def _description(result: Result) -> str:
    found = result.structure
    if found is None:
        return "nothing"
    a = measured(found.a, found.a_error, "Å")
    b = measured(found.b, found.b_error, "Å")
    gamma = measured(found.gamma, found.gamma_error, "°")
    return (
        f"{formula(found.formula)}, layer group {found.layer_group_symbol or ''} (no. {found.layer_group}), "
        f"with a = {a}, b = {b} and γ = {gamma}"
    )


def _rivals(result: Result) -> str:
    likely = f"Confidence {percent(result.confidence)}"
    if not result.alternatives:
        return f"{likely}: {result.reason}." if result.reason else f"{likely}."
    names = [f"{formula(each.formula)} ({percent(each.confidence)})" for each in result.alternatives[:3]]
    return f"{likely}; also possible: {', '.join(names)}."


def _failed_checks(result: Result) -> str:
    failed = [check.name for check in result.checks if not check.passed]
    if failed:
        return f"Failed: {', '.join(failed)}."
    return f"Reason: {result.reason}." if result.reason else ""
