"""The paper's study of a data set, the whole way: runs, tables, figures, page.

DIR/runs/NAME-VARIANT-SEED   ordinary run directories
DIR/results.json             all figures
DIR/tables/*.{md,csv}        DIR/figures/*.{png,pdf}        DIR/index.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from iavit.console import say
from iavit.data.datasets import load_dataset
from iavit.data.images import Splits
from iavit.data.sampling import sample
from iavit.errors import UserError
from iavit.evaluate.evaluation import Fairness, Figure
from iavit.evaluate.evaluation_json import read_evaluation
from iavit.experiments import plots
from iavit.experiments.audits import (
    explanation_fairness_table,
    fairness_of,
    fairness_table,
    mark_table,
)
from iavit.experiments.page import Plate, plate, write_study
from iavit.experiments.runs import (
    Failed,
    carry_out,
    check_folder,
    is_done,
    load_done,
    names_of,
    read_predictions,
)
from iavit.experiments.seeds import over_seeds
from iavit.experiments.tables import (
    Measured,
    Table,
    accuracy_table,
    as_csv,
    explainer_table,
    factor_table,
    markdown,
    objective_table,
    of_variant,
    variants_of,
)
from iavit.experiments.tokens import statistic, token_table
from iavit.experiments.variants import REFERENCE, VARIANTS, Choices, Planned, plan
from iavit.explain import EXPLAINERS
from iavit.files import make_folder, write_json, write_text
from iavit.model.explainable import extractor_of

TOKEN_VARIANTS = ("plain", "iavit")  # of which figure 1 is counted; the first one is drawn
CAPTIONS = {
    "figure-1": "Figure 1. Class token against the mean of the patch tokens in the plain ViT: "
    "predictive distributions and last-layer attention, for the first test images.",
    "figure-3": "Figure 3. Insertion minus deletion by explainer and data set; bars are 95 % "
    "intervals, over seeds where there are several, else over images.",
    "figure-4": "Figure 4. The first test images by explainers, of the first seed's IA-ViT "
    "with all terms; below each image the class that it predicts, and "
    "the true one where that differs. Red speaks for the predicted class and blue against it on "
    "signed maps; on the others brighter is more important.",
}


def reproduce(
    choices: Choices, folder: Path, console: Console, beside: Sequence[Path] = ()
) -> Path:
    """Carry a study out, or on, and write its tables and figures; returns the page.

    beside: folders of other studies, whose data sets figure 3 shows, too.

    Raises `UserError` for choices that there are not, a folder of other settings, data that
    cannot be loaded; and at the very end, when all is written, if a run failed.
    """
    started = time.perf_counter()
    runs = plan(choices, EXPLAINERS)
    others = {
        name: differences
        for path in beside
        for name, differences in _read_differences(path).items()
    }
    check_folder(choices, runs, folder)
    failed = carry_out(choices, runs, folder, console)
    done = [_read(folder, run) for run in runs if is_done(folder, run)]
    if not done:
        raise UserError(f"every run failed; the first: {failed[0].run.name}: {failed[0].reason}")
    say("tables and figures", console)
    page = _write(choices, runs, done, failed, folder, others, started)
    if failed:
        named = "; ".join(f"{failure.run.name}: {failure.reason}" for failure in failed)
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed ({named}); {page} is made of the others: "
            "put it right and give the command again"
        )
    return page


def _read(folder: Path, run: Planned) -> Measured:
    directory = folder / "runs" / run.name
    evaluation = read_evaluation(directory)
    try:
        return Measured(run, read_predictions(directory), evaluation)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{directory}/predictions.csv is damaged; remove it and give the command again"
        ) from error


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Each as `NAME.md` and `NAME.csv`."""
    for table in tables:
        make_folder(folder)
        write_text(folder / f"{table.name}.md", markdown(table))
        write_text(folder / f"{table.name}.csv", as_csv(table))


def _write(
    choices: Choices,
    runs: Sequence[Planned],
    done: Sequence[Measured],
    failed: Sequence[Failed],
    folder: Path,
    others: Mapping[str, Any],
    started: float,
) -> Path:
    tokens = _tokens(folder, done)
    fairness = _fairness(done)
    tables = [table for table in _tables(done, tokens, fairness) if table.rows]
    write_tables(tables, folder / "tables")
    differences = _differences(done)
    shown = {choices.study: differences, **others}
    figures = _figures(folder, done, tokens, shown)
    provenance = {
        "version": version("iavit"),
        "commit": done[0].evaluation.provenance.commit,
        "torch": torch.__version__,
        "device": done[0].evaluation.provenance.device,
        "test images": max(len(run.predictions["label"]) for run in done),
        "images explained": choices.explained,
        "seconds of this call": round(time.perf_counter() - started),
    }
    write_json(
        folder / "results.json",
        {
            **asdict(choices),
            "seeds": list(choices.seeds),
            "provenance": provenance,
            "runs": {
                run.name: {
                    "variant": run.variant,
                    "seed": run.seed,
                    "changes": dict(VARIANTS[run.variant].changes),
                    "done": is_done(folder, run),
                }
                for run in runs
            },
            "failed": {failure.run.name: failure.reason for failure in failed},
            "tables": {table.name: _as_json(table) for table in tables},
            "tokens": tokens,
            "fairness": {run: asdict(found) for run, found in fairness.items()},
            "differences": differences,
        },
    )
    page = folder / "index.html"
    write_study(page, choices, runs, failed, tables, figures, provenance)
    return page


def _tables(
    done: Sequence[Measured], tokens: Mapping[str, Any], fairness: Mapping[str, Fairness]
) -> list[Table]:
    attribute = next((found.attribute for found in fairness.values()), "group")
    return [
        accuracy_table(done),
        objective_table(done, "ablation", REFERENCE, "Ablation of the objective"),
        factor_table(done),
        objective_table(
            done, "main", "iavit", "What is added to the paper's objective, one after another"
        ),
        *(
            explainer_table(done, name)
            for name in variants_of(done, "main")
            if VARIANTS[name].explained
        ),
        token_table(tokens),
        fairness_table(done, fairness, attribute),
        explanation_fairness_table(done, fairness, attribute),
        mark_table(done, fairness),
    ]


def _fairness(done: Sequence[Measured]) -> dict[str, Fairness]:
    """Run to its group metrics, of the runs whose test images are of groups."""
    found = {}
    for run in done:
        if "group" in run.predictions and VARIANTS[run.planned.variant].part != "ablation":
            # Names alone are wanted of the data set: no image is read for them.
            said = fairness_of(run, names_of(load_dataset(run.planned.config)))
            if said is not None:
                found[run.planned.name] = said
    return found


def _tokens(folder: Path, done: Sequence[Measured]) -> dict[str, list[dict[str, Any]]]:
    """Figure 1's statistic by variant, one a seed, kept beside the run that it is of."""
    found: dict[str, list[dict[str, Any]]] = {}
    for variant in TOKEN_VARIANTS:
        for run in of_variant(done, variant):
            path = folder / "runs" / run.planned.name / "tokens.json"
            if not path.is_file():
                splits, saved = (
                    load_dataset(run.planned.config),
                    load_done(folder, run.planned).saved,
                )
                test = sample(splits.test, run.evaluation.images)
                write_json(path, statistic(extractor_of(saved.model), splits.train, test))
            found.setdefault(variant, []).append(json.loads(path.read_text(encoding="utf-8")))
    return found


def _differences(done: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """What figure 3 shows of a data set: model to explainer to figure."""
    found: dict[str, dict[str, Any]] = {}
    for variant in variants_of(done, "main"):
        if not VARIANTS[variant].explained:
            continue
        each = [run.evaluation for run in of_variant(done, variant)]
        estimates = {
            name: over_seeds([evaluation.figures(name).get("difference") for evaluation in each])
            for name in each[0].faithfulness
        }
        found[VARIANTS[variant].summary] = {
            name: {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
            for name, estimate in estimates.items()
            if estimate is not None
        }
    return found


def _figures(
    folder: Path,
    done: Sequence[Measured],
    tokens: Mapping[str, Sequence[Mapping[str, Any]]],
    differences: plots.Differences,
) -> list[Plate]:
    """Draw what there are runs for."""
    drawn = {}
    plain, ours = of_variant(done, TOKEN_VARIANTS[0]), of_variant(done, "iavit_faithful")
    if plain:
        splits: Splits = load_dataset(plain[0].planned.config)
        saved = load_done(folder, plain[0].planned).saved
        statistic_line = _in_a_line(tokens[TOKEN_VARIANTS[0]])
        drawn["figure-1"] = plots.token_figure(saved, splits.test, statistic_line)
    if any(differences.values()):
        drawn["figure-3"] = plots.difference_figure({k: v for k, v in differences.items() if v})
    if ours:
        splits = load_dataset(ours[0].planned.config)
        saved = load_done(folder, ours[0].planned).saved
        drawn["figure-4"] = plots.explanation_figure(
            saved, splits.test, ours[0].planned.explainers, ours[0].planned.seed
        )
    plates = []
    for name, figure in drawn.items():
        png, _ = plots.save(figure, folder / "figures", name)
        plates.append(plate(png, CAPTIONS[name]))
    return plates


def _in_a_line(tokens: Sequence[Mapping[str, Any]]) -> str:
    """Figure 1's statistic in a line."""
    same, kl, alike = (
        over_seeds([Figure(**token[key]) for token in tokens])
        for key in ("agreement", "divergence", "correlation")
    )
    parts = [f"over {tokens[0]['images']:,} test images: "]
    if same is not None and kl is not None:
        parts.append(f"same class {100 * same.mean:.1f} %, divergence {kl.mean:.3g} nats, ")
    if alike is not None:
        parts.append(f"correlation of the maps {alike.mean:.2f}")
    return "".join(parts)


def _read_differences(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        return {str(results["study"]): results["differences"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"`beside` {folder}: there are no results of a study; name the folder of one"
        ) from error


def _as_json(table: Table) -> dict[str, Any]:
    return {
        row: {
            key: None if estimate is None else asdict(estimate) for key, estimate in cells.items()
        }
        for row, cells in table.rows.items()
    }
