"""What `evaluation.json` says, in words: who is ahead, by how much, and what is only noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iavit.report.cells import (
    SPACE,
    Cell,
    Figure,
    between,
    cell,
    is_figure,
    number,
    p_value,
    percent,
    share,
    words,
)
from iavit.report.terminal import FURTHER, ON_THE_PAGE, PREDICTION, SECTIONS

Evaluation = Mapping[str, Any]

METRICS = {  # metric to section and heading
    metric: (section, heading)
    for section, headings in (
        *SECTIONS.items(),
        ("faithfulness", FURTHER),
        ("faithfulness", ON_THE_PAGE),
    )
    for metric, heading in headings.items()
}
SUBJECT = "interpreter"  # the explainer that the page is about, where it was evaluated
BASELINE = "random"  # knows nothing: shown, but no rival
LOWER_IS_BETTER = [metric for metric, (_, heading) in METRICS.items() if heading.endswith("↓")]
NOISE = "within noise"


def highlights(evaluation: Evaluation) -> list[tuple[str, Cell]]:
    """The few figures to see first."""
    shown = [(PREDICTION[key], share(evaluation["prediction"][key])) for key in PREDICTION]
    named = subject(evaluation)
    for metric, (section, _) in METRICS.items():
        figure = evaluation[section].get(named, {}).get(metric)
        if metric in ("difference", "pointing_game") and figure is not None:
            told = share(figure) if metric == "pointing_game" else cell(figure)
            name = "insertion minus deletion" if metric == "difference" else words(metric)
            shown.append((f"{name}, {named}", told))
    return shown


def sentences(evaluation: Evaluation) -> list[str]:
    """The findings in plain words."""
    prediction = evaluation["prediction"]
    predictor, interpreter, agreement = (prediction[key]["mean"] for key in PREDICTION)
    told = [
        f"The predictor is right on {percent(predictor)} of the images and the interpreter on "
        f"{percent(interpreter)}; both name the same class for {percent(agreement)} of them."
    ]
    named = subject(evaluation)
    difference = evaluation["faithfulness"][named]["difference"]["mean"]
    rival = _rival(evaluation, named)
    if difference is not None:
        told.append(
            f"Insertion minus deletion, which tells how much of the prediction the patches ranked "
            f"first carry, is {number(difference)} for {the(named)}."
        )
    if difference is not None and rival is not None:
        told.append(_against(evaluation, named, rival))
    pointing = _mean(evaluation, "localisation", named, "pointing_game")
    if pointing is not None:
        chance = _mean(evaluation, "localisation", BASELINE, "pointing_game")
        told.append(
            f"The highest patch of {the(named)}'s map lies on the evidence in "
            f"{percent(pointing)} of the images"
            + ("." if chance is None else f", a random map's in {percent(chance)}.")
        )
    return told


def left_out(evaluation: Evaluation, listed: int) -> str:
    """On the files that could not be read: a sentence, or nothing where all could be.

    listed: lines of the run's `bad_images.txt`, of all splits.
    """
    of_test = evaluation.get("images_left_out", 0)
    if not of_test and not listed:
        return ""
    told = f"{of_test:,} of the test images could not be read and {_was(of_test)} left out"
    told += f" ({evaluation['images']:,} were measured)."
    if listed:
        files = "file" if listed == 1 else "files"
        told += f" In all splits together, the run left out {listed:,} {files}: bad_images.txt "
        told += "in its directory names them."
    return told


def verdict(difference: Figure, metric: str) -> str:
    """A paired difference in a word.

    Where the evaluation itself says whether the difference is noise, after correcting for the
    number of explainers, that counts; else whether the interval holds 0.
    """
    low, high, mean = difference["low"], difference["high"], difference["mean"]
    if low is None or high is None:
        return ""
    if difference.get("inside_noise", low <= 0 <= high):
        return NOISE
    ahead = low > 0 if mean is None else mean > 0
    return "better" if ahead != (metric in LOWER_IS_BETTER) else "worse"


def ranked(evaluation: Evaluation, metric: str = "difference") -> list[str]:
    """Explainers, the highest mean of a metric first, those without one last."""
    means = {
        name: figures[metric]["mean"] if metric in figures or metric == "difference" else None
        for name, figures in evaluation["faithfulness"].items()
    }
    return sorted(means, key=lambda name: (means[name] is None, -(means[name] or 0.0)))


def subject(evaluation: Evaluation) -> str:
    """The explainer that the page is about: the interpreter, or the first one evaluated."""
    names = list(evaluation["faithfulness"])
    return SUBJECT if SUBJECT in names else names[0]


def compared(evaluation: Evaluation, a: str, b: str, metric: str) -> Figure | None:
    """The paired difference of two explainers, whichever of them was taken from the other."""
    for entry in evaluation["comparisons"]:
        if entry["metric"] == metric and {entry["a"], entry["b"]} == {a, b}:
            return entry if entry["a"] == a else _turned(entry)
    return None


def noise_words(evaluation: Evaluation, metric: str) -> dict[str, str]:
    """Explainer to a word, where its difference from the subject or the next is only noise."""
    order = ranked(evaluation, metric)
    named = subject(evaluation)
    told: dict[str, str] = {}
    for name, following in zip(order, [*order[1:], None], strict=True):
        pairs = {NOISE: named, f"{NOISE} of next": following}
        for word, other in pairs.items():
            pair = compared(evaluation, name, other, metric) if other else None
            if pair is not None and verdict(pair, metric) == NOISE:
                told.setdefault(name, word)
    return told


def columns(evaluation: Evaluation) -> dict[str, tuple[str, str]]:
    """Metric to section and heading, of those measured: the usual ones, then any other."""
    measured = {
        metric: section
        for section in ("faithfulness", "localisation")
        for figures in evaluation[section].values()
        for metric, figure in figures.items()
        if is_figure(figure)
    }
    usual = {metric: METRICS[metric] for metric in METRICS if metric in measured}
    others = {m: (section, words(m)) for m, section in measured.items() if m not in METRICS}
    return usual | others


def the(name: str) -> str:
    """An explainer within a sentence."""
    return "the interpreter" if name == SUBJECT else name


def _rival(evaluation: Evaluation, named: str) -> str | None:
    """The best of the other explainers; the baseline only where there is no other."""
    others = [
        name
        for name in ranked(evaluation)
        if name != named and _mean(evaluation, "faithfulness", name, "difference") is not None
    ]
    return next((name for name in others if name != BASELINE), others[0] if others else None)


def _against(evaluation: Evaluation, named: str, rival: str) -> str:
    own, other = (evaluation["faithfulness"][name]["difference"]["mean"] for name in (named, rival))
    told = f"The best of the other explainers, {rival}, reaches {number(other)}: "
    paired = compared(evaluation, named, rival, "difference")
    if paired is None or paired["low"] is None or paired["high"] is None or paired["mean"] is None:
        return told + f"{the(named if own > other else rival)} is ahead."
    word = verdict(paired, "difference")
    if word == NOISE:
        p = p_value(paired.get("adjusted_p"))
        known = f"95{SPACE}% interval {between(paired)}" + (f", adjusted {p}" if p else "")
        return told + f"the difference is within noise ({known})."
    ends = sorted(abs(end) for end in (paired["low"], paired["high"]))
    return told + (
        f"{the(named if word == 'better' else rival)} is ahead by "
        f"{number(abs(paired['mean']))} (95{SPACE}% interval {number(ends[0])} to "
        f"{number(ends[1])})."
    )


def _turned(entry: Mapping[str, Any]) -> Figure:
    """A paired difference the other way round."""
    ends = {"mean": entry["mean"], "low": entry["high"], "high": entry["low"]}
    return {**entry, **{end: None if value is None else -value for end, value in ends.items()}}


def _mean(evaluation: Evaluation, section: str, name: str, metric: str) -> float | None:
    mean: float | None = evaluation[section].get(name, {}).get(metric, {}).get("mean")
    return mean


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
