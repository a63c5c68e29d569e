"""Explainers over seeds: a table of several runs' `evaluation.json`, with intervals.

Rows are explainers, the best average over substrates first; columns each substrate's insertion
minus deletion, their average, ROAD and the pointing game, where they were measured. Then the better
of the model's own explanations minus each other one. Intervals of 95 % over seeds (Student); of a
single run over its images.

    iavit evaluate RUN --images 100 --substrates zeros,mean,black,blur,noise,drop --metrics road
    python benchmarks/over_seeds.py RUN RUN RUN

With `--output FOLDER`, named after the data set, what is printed is `tables/explainers.md` there,
below the paper's first table, whose plain ViT is the predictor where that was trained alone; and
the paper's figures 3 and 4 are drawn, the latter of the first run. `--evaluations` are folders of
`evaluation.json` where they are not in the runs, and `--predictions` those with more images, which
the first table is of.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from iavit.data.datasets import load_dataset
from iavit.data.sampling import sample
from iavit.evaluate.evaluation import Evaluation, Figure
from iavit.evaluate.evaluation_json import read_evaluation
from iavit.experiments import plots
from iavit.experiments.seeds import Estimate, difference, over_seeds
from iavit.files import make_folder, write_text
from iavit.training.directory import load_run

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


def accuracy(runs: list[Evaluation], alone: bool) -> Iterator[str]:
    """The paper's first table, over seeds; then each seed.

    alone: whether the predictors were trained as plain ViTs, which makes one row of two.
    """
    yield f"{runs[0].images:,} test images."
    yield ""
    yield "| model | accuracy |"
    yield "|---|---|"
    rows = {"predictor": "predictor_accuracy", "interpreter": "interpreter_accuracy"}
    plain = {"plain ViT, the same weights": "predictor_accuracy"} if alone else {}
    for label, name in {**plain, **rows}.items():
        estimate = over_seeds([figure(run, name) for run in runs])
        yield f"| {label} | {shown(estimate)} |"
    yield ""
    yield "| seed | predictor | interpreter | agreement | trust | its rank correlation |"
    yield "|---|---|---|---|---|---|"
    for run in runs:
        names = (*rows.values(), "agreement", "trust")
        cells = " | ".join(f"{figure(run, name).mean:.3f}" for name in names)
        correlated = ", ".join(
            f"{name} {found.mean:.2f}" for name, found in run.trust_correlation.items()
        )
        yield f"| {run.provenance.seed} | {cells} | {correlated} |"
    yield ""


def figure(run: Evaluation, name: str) -> Figure:
    """A measure of prediction that is a figure with an interval."""
    found = run.prediction[name]
    assert isinstance(found, Figure)
    return found


def explainers(runs: list[Evaluation]) -> Iterator[str]:
    """Explainers by columns, then the best own explanation against the others."""
    yield f"{runs[0].images:,} test images."
    yield ""
    found = {name: [figures(run, name) for run in runs] for name in runs[0].faithfulness}
    columns = list(next(iter(found.values()))[0])
    estimates = {
        name: {column: over_seeds([seed[column] for seed in seeds]) for column in columns}
        for name, seeds in found.items()
    }
    names = sorted(found, key=lambda name: -mean(estimates[name][AVERAGE]))
    yield "| explainer | " + " | ".join(columns) + " |"
    yield "|---" * (1 + len(columns)) + "|"
    for name in names:
        cells = [
            shown(estimate) if column == AVERAGE else f"{mean(estimate):.3f}"
            for column, estimate in estimates[name].items()
        ]
        yield f"| `{name}` | " + " | ".join(cells) + " |"
    best = next(name for name in names if name in OWN)
    compared = [column for column in (AVERAGE, "road") if column in columns]
    yield ""
    yield f"| `{best}` minus | " + " | ".join(compared) + " |"
    yield "|---" * (1 + len(compared)) + "|"
    for name in names:
        cells = [shown(ahead(runs, best, name, column), "+") for column in compared]
        if name != best:
            yield f"| `{name}` | " + " | ".join(cells) + " |"


def ahead(runs: list[Evaluation], best: str, name: str, column: str) -> Estimate | None:
    """By how much the best own explanation is ahead: image by image where there is one run."""
    if len(runs) == 1:
        for paired in runs[0].comparisons:
            if (paired.metric, paired.a, paired.b) == (column, best, name):
                return over_seeds([paired.figure])
    each = [(figures(run, best)[column], figures(run, name)[column]) for run in runs]
    return difference(each)


def drawn(folder: Path, run: Path, evaluations: list[Evaluation]) -> None:
    """Figures 3 and 4 of the paper: every explainer's difference, and maps of the first images."""
    names = list(evaluations[0].faithfulness)
    found = {
        name: over_seeds([each.figures(name)[AVERAGE] for each in evaluations]) for name in names
    }
    differences = {name: asdict(estimate) for name, estimate in found.items() if estimate}
    data, trained = folder.name, load_run(run)
    plots.save(
        plots.difference_figure({data: {"IA-ViT": differences}}), folder / "figures", "figure-3"
    )
    images = load_dataset(trained.config).test
    chosen = sample(images, plots.ROWS)
    picture = plots.explanation_figure(trained.saved, chosen, names, trained.config.training.seed)
    plots.save(picture, folder / "figures", "figure-4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument("--evaluations", nargs="+", type=Path, help="folders of evaluation.json")
    parser.add_argument("--predictions", nargs="+", type=Path, help="the same, of more images")
    parser.add_argument("--output", type=Path, help="folder of tables and figures")
    options = parser.parse_args()
    runs = [read_evaluation(run) for run in options.evaluations or options.runs]
    alone = load_run(options.runs[0]).config.objective.interpreter == "after"
    predicted = [read_evaluation(folder) for folder in options.predictions or []]
    lines = [*accuracy(predicted or runs, alone), *explainers(runs)]
    print("\n".join(lines))
    if options.output:
        make_folder(options.output / "tables")
        write_text(options.output / "tables" / "explainers.md", "\n".join([*lines, ""]))
        drawn(options.output, options.runs[0], runs)


if __name__ == "__main__":
    main()
