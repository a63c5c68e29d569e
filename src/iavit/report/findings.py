"""What an evaluation says, in words: who is ahead, by how much, and what is only noise."""

from __future__ import annotations

from dataclasses import replace

from iavit.evaluate.evaluation import Comparison, Evaluation, Figure
from iavit.evaluate.metrics import METRICS
from iavit.report.cells import SPACE, Cell, between, cell, number, p_value, percent, share

# What the model says of itself: the first that was evaluated is what the page is about.
OWN = ("contributions", "interpreter")
BASELINE = "random"  # knows nothing: shown, but no rival
NOISE = "within noise"


def highlights(evaluation: Evaluation) -> list[tuple[str, Cell]]:
    """The few figures to see first."""
    shown = [
        (METRICS[metric].heading, share(value))
        for metric, value in evaluation.prediction.items()
        if METRICS[metric].shown == "first" and isinstance(value, Figure)
    ]
    named = subject(evaluation)
    figures = evaluation.figures(named)
    if "difference" in figures:
        shown.append((f"insertion minus deletion, {named}", cell(figures["difference"])))
    if "pointing_game" in figures:
        shown.append((f"pointing game, {named}", share(figures["pointing_game"])))
    return shown


def sentences(evaluation: Evaluation) -> list[str]:
    """The findings in plain words."""
    written = [_prediction(evaluation)]
    named = subject(evaluation)
    difference = _mean(evaluation, named, "difference")
    rival = _rival(evaluation, named)
    if difference is not None:
        written.append(
            f"Insertion minus deletion, which tells how much of the prediction the patches ranked "
            f"first carry, is {number(difference)} for {the(named)}."
        )
    if difference is not None and rival is not None:
        written.append(_against(evaluation, named, rival))
    pointing = _mean(evaluation, named, "pointing_game")
    if pointing is not None:
        chance = _mean(evaluation, BASELINE, "pointing_game")
        written.append(
            f"The highest patch of the map ({named}) lies on the evidence in "
            f"{percent(pointing)} of the images"
            + ("." if chance is None else f", a random map's in {percent(chance)}.")
        )
    return written


def left_out(evaluation: Evaluation, listed: int) -> str:
    """On the files that could not be read: a sentence, or nothing where all could be.

    listed: lines of the run's `bad_images.txt`, of all splits.
    """
    of_test = evaluation.images_left_out
    if not of_test and not listed:
        return ""
    text = (
        f"{of_test:,} of the test images could not be read and {_was(of_test)} left out "
        f"({evaluation.images:,} were measured)."
    )
    if listed:
        files = "file" if listed == 1 else "files"
        text += (
            f" In all splits together, the run left out {listed:,} {files}: bad_images.txt "
            "in its directory names them."
        )
    return text


def verdict(comparison: Comparison) -> str:
    """A paired difference in a word, said of its first explainer; nothing where it has no value."""
    mean = comparison.figure.mean
    if mean is None:
        return ""
    if comparison.inside_noise:
        return NOISE
    return "better" if (mean > 0) == (METRICS[comparison.metric].better == "higher") else "worse"


def ranked(evaluation: Evaluation, metric: str = "difference") -> list[str]:
    """Explainers, the highest mean of a metric first, those without one last."""
    means = {name: _mean(evaluation, name, metric) for name in evaluation.faithfulness}
    return sorted(means, key=lambda name: (means[name] is None, -(means[name] or 0.0)))


def subject(evaluation: Evaluation) -> str:
    """The explainer that the page is about: the model's own, or else the first one evaluated."""
    names = list(evaluation.faithfulness)
    return next((name for name in OWN if name in names), names[0])


def compared(evaluation: Evaluation, a: str, b: str, metric: str) -> Comparison | None:
    """The paired difference of two explainers, whichever of them was taken from the other."""
    for comparison in evaluation.comparisons:
        if comparison.metric == metric and {comparison.a, comparison.b} == {a, b}:
            return comparison if comparison.a == a else _turned(comparison)
    return None


def noise_words(evaluation: Evaluation, metric: str) -> dict[str, str]:
    """Explainer to a word, where its difference from the subject or the next is only noise."""
    order = ranked(evaluation, metric)
    named = subject(evaluation)
    found: dict[str, str] = {}
    for name, following in zip(order, [*order[1:], None], strict=True):
        pairs = {NOISE: named, f"{NOISE} of next": following}
        for word, other in pairs.items():
            pair = compared(evaluation, name, other, metric) if other else None
            if pair is not None and verdict(pair) == NOISE:
                found.setdefault(name, word)
    return found


def the(name: str) -> str:
    """An explainer within a sentence."""
    return {"interpreter": "the interpreter's attention", "contributions": "the contributions"}.get(
        name, name
    )


def _prediction(evaluation: Evaluation) -> str:
    """How often the branches are right and agree; the predictor alone where it is alone."""
    shares = {
        metric: value.mean
        for metric, value in evaluation.prediction.items()
        if isinstance(value, Figure)
    }
    predictor, interpreter, agreement = (
        percent(shares.get(metric))
        for metric in ("predictor_accuracy", "interpreter_accuracy", "agreement")
    )
    right = f"The predictor is right on {predictor} of the images"
    if "agreement" not in shares:
        return f"{right}."
    return (
        f"{right} and the interpreter on {interpreter}; both name the same class for {agreement} "
        "of them."
    )


def _rival(evaluation: Evaluation, named: str) -> str | None:
    """The best of the other explainers, neither the model's own nor the baseline."""
    return next(
        (
            name
            for name in ranked(evaluation)
            if name not in (named, BASELINE, *OWN)
            and _mean(evaluation, name, "difference") is not None
        ),
        None,
    )


def _against(evaluation: Evaluation, named: str, rival: str) -> str:
    own, other = (_mean(evaluation, name, "difference") or 0.0 for name in (named, rival))
    begin = f"The best of the other explainers, {rival}, reaches {number(other)}: "
    pair = compared(evaluation, named, rival, "difference")
    if pair is None or pair.figure.mean is None:
        who = named if own > other else rival
        return begin + f"{the(who)} {_is(who)} ahead."
    low, high = pair.figure.low, pair.figure.high
    word = verdict(pair)
    if word == NOISE:
        p = p_value(pair)
        known = f"95{SPACE}% interval {between(pair.figure)}" + (f", adjusted {p}" if p else "")
        return begin + f"the difference is within noise ({known})."
    who = named if word == "better" else rival
    ends = sorted(abs(end) for end in (low, high) if end is not None)
    return begin + (
        f"{the(who)} {_is(who)} ahead by {number(abs(pair.figure.mean))}"
        + (f" (95{SPACE}% interval {number(ends[0])} to {number(ends[1])})." if ends else ".")
    )


def _is(name: str) -> str:
    return "are" if name == "contributions" else "is"


def _turned(comparison: Comparison) -> Comparison:
    """A paired difference the other way round."""
    mean, low, high = (
        None if end is None else -end
        for end in (comparison.figure.mean, comparison.figure.high, comparison.figure.low)
    )
    return replace(comparison, a=comparison.b, b=comparison.a, figure=Figure(mean, low, high))


def _mean(evaluation: Evaluation, explainer: str, metric: str) -> float | None:
    figure = evaluation.figures(explainer).get(metric)
    return None if figure is None else figure.mean


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
