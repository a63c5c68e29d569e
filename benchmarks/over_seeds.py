"""Explainers over seeds: a table of several runs' `evaluation.json`, with intervals.

Rows are explainers, the best average over substrates first; columns each substrate's insertion
minus deletion, their average, ROAD and the pointing game, where they were measured. Then the better
of the model's own explanations minus each other one. Intervals of 95 % over seeds (Student); of a
single run over its images.

    iavit evaluate RUN --images 100 --substrates zeros,mean,black,blur,noise,drop --metrics road
    python benchmarks/over_seeds.py RUN RUN RUN
"""

from __future__ import annotations

import argparse
from pathlib import Path

from iavit.evaluate.evaluation import Evaluation, Figure
from iavit.evaluate.evaluation_json import read_evaluation
from iavit.experiments.seeds import Estimate, difference, over_seeds

OWN = ("contributions", "interpreter")
AVERAGE = "mean_difference"


def figures(evaluation: Evaluation, explainer: str) -> dict[str, Figure]:
    """Column to figure of one explainer in one run."""
    on_each = evaluation.faithfulness[explainer].substrates
    known = evaluation.figures(explainer)
    beside = [name for name in (AVERAGE, "road", "pointing_game") if name in known]
    return {
        **{name: found["difference"] for name, found in on_each.items()},
        **{name: known[name] for name in beside},
    }


def mean(estimate: Estimate | None) -> float:
    return float("-inf") if estimate is None else estimate.mean


def shown(estimate: Estimate | None, sign: str = "") -> str:
    """A mean, and half the width of its interval."""
    if estimate is None:
        return "–"
    half = "" if estimate.low is None else f" ± {estimate.mean - estimate.low:.3f}"
    return f"{estimate.mean:{sign}.3f}{half}"


def explainers(runs: list[Evaluation]) -> None:
    """Print explainers by columns, then the best own explanation against the others."""
    found = {name: [figures(run, name) for run in runs] for name in runs[0].faithfulness}
    columns = list(next(iter(found.values()))[0])
    estimates = {
        name: {column: over_seeds([seed[column] for seed in seeds]) for column in columns}
        for name, seeds in found.items()
    }
    names = sorted(found, key=lambda name: -mean(estimates[name][AVERAGE]))
    print("| explainer | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name in names:
        cells = [
            shown(estimate) if column == AVERAGE else f"{mean(estimate):.3f}"
            for column, estimate in estimates[name].items()
        ]
        print(f"| `{name}` | " + " | ".join(cells) + " |")
    best = next(name for name in names if name in OWN)
    compared = [column for column in (AVERAGE, "road") if column in columns]
    print(f"\n| `{best}` minus | " + " | ".join(compared) + " |")
    print("|---" * (1 + len(compared)) + "|")
    for name in names:
        cells = [
            shown(
                difference(
                    [(a[column], b[column]) for a, b in zip(found[best], found[name], strict=True)]
                ),
                "+",
            )
            for column in compared
        ]
        if name != best:
            print(f"| `{name}` | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of evaluation.json")
    options = parser.parse_args()
    runs = [read_evaluation(run) for run in options.runs]
    print("| seed | predictor | interpreter | agreement | trust | its rank correlation |")
    print("|---|---|---|---|---|---|")
    for run in runs:
        shares = [
            figure.mean
            for name in ("predictor_accuracy", "interpreter_accuracy", "agreement", "trust")
            if isinstance(figure := run.prediction[name], Figure)
        ]
        correlated = ", ".join(
            f"{name} {figure.mean:.2f}" for name, figure in run.trust_correlation.items()
        )
        cells = " | ".join(f"{share:.3f}" for share in shares)
        print(f"| {run.provenance.seed} | {cells} | {correlated} |")
    print()
    explainers(runs)


if __name__ == "__main__":
    main()
