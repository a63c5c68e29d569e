"""What `evaluation.json` says, in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iavit.report import table
from iavit.report.table import PREDICTION, SECTIONS

Figure = Mapping[str, float | None]  # mean, low, high
Evaluation = Mapping[str, Any]

METRICS = {  # metric to section and heading
    metric: (section, heading)
    for section, headings in SECTIONS.items()
    for metric, heading in headings.items()
}
SUBJECT = "interpreter"  # the explainer that the page is about, where it was evaluated
BASELINE = "random"  # knows nothing: shown, but no rival
LOWER_IS_BETTER = [metric for metric, (_, heading) in METRICS.items() if heading.endswith("↓")]
SPEED = "ms an image ↓"
NOTHING = "–"
SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Cell:
    """A figure as it is read: its mean, its interval, and a word on it."""

    mean: str
    interval: str = ""
    word: str = ""


@dataclass(frozen=True)
class Table:
    """The columns' headings, that of the rows first; each row's name and cells."""

    headings: list[str]
    rows: list[tuple[str, list[Cell]]]


def number(value: float | None, digits: int = 3, *, plus: bool = False) -> str:
    """A figure with a proper minus sign; a dash where there is none."""
    if value is None:
        return NOTHING
    text = f"{value:{'+' if plus else ''},.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")  # no sign before a zero
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None) -> str:
    """A share in per cent, which does not break over two lines."""
    return table.percent(value).replace(" ", SPACE)


def highlights(evaluation: Evaluation) -> list[tuple[str, Cell]]:
    """The few figures to see first."""
    shown = [(PREDICTION[key], _share(evaluation["prediction"][key])) for key in PREDICTION]
    subject = _subject(evaluation)
    for metric, (section, _) in METRICS.items():
        figure = evaluation[section].get(subject, {}).get(metric)
        if metric in ("difference", "pointing_game") and figure is not None:
            cell = _share(figure) if metric == "pointing_game" else _cell(figure)
            name = "insertion minus deletion" if metric == "difference" else _words(metric)
            shown.append((f"{name}, {subject}", cell))
    return shown


def sentences(evaluation: Evaluation) -> list[str]:
    """The findings in plain words."""
    prediction = evaluation["prediction"]
    predictor, interpreter, agreement = (prediction[key]["mean"] for key in PREDICTION)
    told = [
        f"The predictor is right on {percent(predictor)} of the images and the interpreter on "
        f"{percent(interpreter)}; both name the same class for {percent(agreement)} of them."
    ]
    subject = _subject(evaluation)
    difference = evaluation["faithfulness"][subject]["difference"]["mean"]
    rival = _rival(evaluation, subject)
    if difference is not None:
        told.append(
            f"Insertion minus deletion, which tells how much of the prediction the patches ranked "
            f"first carry, is {number(difference)} for {_the(subject)}."
        )
    if difference is not None and rival is not None:
        told.append(_against(evaluation, subject, rival))
    pointing = _mean(evaluation, "localisation", subject, "pointing_game")
    if pointing is not None:
        chance = _mean(evaluation, "localisation", BASELINE, "pointing_game")
        told.append(
            f"The highest patch of {_the(subject)}'s map lies on the evidence in "
            f"{percent(pointing)} of the images"
            + ("." if chance is None else f", a random map's in {percent(chance)}.")
        )
    return told


def prediction_table(evaluation: Evaluation) -> Table:
    """What the two branches say: shares in per cent, other measures as numbers."""
    rows = []
    for key, value in evaluation["prediction"].items():
        name = PREDICTION.get(key, _words(key).replace("ece", "calibration error (ECE)"))
        if isinstance(value, Mapping):
            rows.append((name, [_share(value) if key in PREDICTION else _cell(value)]))
        else:
            rows.append((name, [Cell(number(value))]))
    return Table(["measure", "mean and 95 % interval"], rows)


def explainer_table(evaluation: Evaluation) -> Table:
    """Explainers, best difference first, by metrics and time; the best of a column is told."""
    columns = _columns(evaluation)
    best = {metric: _best(evaluation, section, metric) for metric, (section, _) in columns.items()}
    speeds = {
        name: figures["seconds_per_image"] for name, figures in evaluation["faithfulness"].items()
    }
    rivals = [s for name, s in speeds.items() if s is not None and name != BASELINE]
    rows = []
    for name in ranked(evaluation):
        cells = []
        for metric, (section, _) in columns.items():
            figure = evaluation[section].get(name, {}).get(metric)
            wins = name in best[metric]
            cells.append(_cell(figure, "best" if wins else "") if figure else Cell(NOTHING))
        seconds = speeds[name]
        fastest = name != BASELINE and seconds is not None and seconds == min(rivals)
        milliseconds = None if seconds is None else 1000 * seconds
        rows.append((name, [*cells, Cell(number(milliseconds, 2), word="best" if fastest else "")]))
    return Table(["explainer", *(heading for _, heading in columns.values()), SPEED], rows)


def comparison_table(evaluation: Evaluation) -> Table | None:
    """The first explainer minus each other one, a column a metric; None with a single one."""
    comparisons = evaluation["comparisons"]
    if not comparisons:
        return None
    metrics = list(dict.fromkeys(entry["metric"] for entry in comparisons))
    found = {(entry["b"], entry["metric"]): entry for entry in comparisons}
    others = [name for name in ranked(evaluation) if any(other == name for other, _ in found)]
    rows = [
        (
            name,
            [
                _compared(found[name, metric], metric) if (name, metric) in found else Cell(NOTHING)
                for metric in metrics
            ],
        )
        for name in others
    ]
    columns = _columns(evaluation)
    headings = [columns[m][1] if m in columns else _words(m) for m in metrics]
    return Table([f"{comparisons[0]['a']} against", *headings], rows)


def verdict(difference: Figure, metric: str) -> str:
    """A paired difference in a word."""
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return ""
    if low <= 0 <= high:
        return "within noise"
    return "better" if (low > 0) != (metric in LOWER_IS_BETTER) else "worse"


def ranked(evaluation: Evaluation) -> list[str]:
    """Explainers, the highest insertion minus deletion first, those without one last."""
    means = {
        name: figures["difference"]["mean"] for name, figures in evaluation["faithfulness"].items()
    }
    return sorted(means, key=lambda name: (means[name] is None, -(means[name] or 0.0)))


def _subject(evaluation: Evaluation) -> str:
    names = list(evaluation["faithfulness"])
    return SUBJECT if SUBJECT in names else names[0]


def _rival(evaluation: Evaluation, subject: str) -> str | None:
    """The best of the other explainers; the baseline only where there is no other."""
    others = [
        name
        for name in ranked(evaluation)
        if name != subject and _mean(evaluation, "faithfulness", name, "difference") is not None
    ]
    return next((name for name in others if name != BASELINE), others[0] if others else None)


def _against(evaluation: Evaluation, subject: str, rival: str) -> str:
    own, other = (
        evaluation["faithfulness"][name]["difference"]["mean"] for name in (subject, rival)
    )
    told = f"The best of the other explainers, {rival}, reaches {number(other)}: "
    pair = {"metric": "difference", "a": subject, "b": rival}.items()
    paired = next((entry for entry in evaluation["comparisons"] if pair <= entry.items()), None)
    if paired is None or paired["low"] is None:
        return told + f"{_the(subject if own > other else rival)} is ahead."
    word = verdict(paired, "difference")
    ends = sorted(abs(paired[end]) for end in ("low", "high"))
    if word == "within noise":
        return told + f"the difference is within noise (95{SPACE}% interval {_between(paired)})."
    return told + (
        f"{_the(subject if word == 'better' else rival)} is ahead by "
        f"{number(abs(paired['mean']))} (95{SPACE}% interval {number(ends[0])} to "
        f"{number(ends[1])})."
    )


def _columns(evaluation: Evaluation) -> dict[str, tuple[str, str]]:
    """Metric to section and heading, of those measured: the usual ones, then any other."""
    measured = {
        metric: section
        for section in ("faithfulness", "localisation")
        for figures in evaluation[section].values()
        for metric, figure in figures.items()
        if isinstance(figure, Mapping) and "mean" in figure
    }
    usual = {metric: METRICS[metric] for metric in METRICS if metric in measured}
    others = {m: (section, _words(m)) for m, section in measured.items() if m not in METRICS}
    return usual | others


def _best(evaluation: Evaluation, section: str, metric: str) -> list[str]:
    """Who has the best mean as it is printed; the baseline takes no part."""
    if metric not in METRICS:
        return []  # which direction is better is not known
    means = {
        name: round(figures[metric]["mean"], 3)
        for name, figures in evaluation[section].items()
        if name != BASELINE and metric in figures and figures[metric]["mean"] is not None
    }
    if not means:
        return []
    top = (min if metric in LOWER_IS_BETTER else max)(means.values())
    return [name for name, mean in means.items() if mean == top]


def _mean(evaluation: Evaluation, section: str, name: str, metric: str) -> float | None:
    mean: float | None = evaluation[section].get(name, {}).get(metric, {}).get("mean")
    return mean


def _cell(figure: Figure, word: str = "") -> Cell:
    return Cell(number(figure["mean"]), _between(figure), word)


def _compared(difference: Figure, metric: str) -> Cell:
    mean = number(difference["mean"], plus=True)
    return Cell(mean, _between(difference), verdict(difference, metric))


def _share(figure: Figure) -> Cell:
    if figure["low"] is None:
        return Cell(percent(figure["mean"]))
    return Cell(percent(figure["mean"]), f"{percent(figure['low'])} to {percent(figure['high'])}")


def _between(figure: Figure) -> str:
    if figure["low"] is None:
        return ""
    return f"{number(figure['low'])} to {number(figure['high'])}"


def _the(name: str) -> str:
    return "the interpreter" if name == SUBJECT else name


def _words(key: str) -> str:
    return key.replace("_", " ")
