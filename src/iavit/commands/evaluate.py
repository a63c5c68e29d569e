"""`iavit evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.commands.progress import progress
from iavit.commands.selection import choose, choose_explainers, load_run, share_work
from iavit.console import console, say
from iavit.errors import UserError

if TYPE_CHECKING:
    from iavit.data.images import Images
    from iavit.evaluate.measurement import Settings
    from iavit.evaluate.processes import Processes
    from iavit.evaluate.sufficient import Promise
    from iavit.explain import Explainer
    from iavit.training.directory import Run

COVERAGE = 0.9  # of new images, whose answer an explainer's first patches keep


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--explainers", type=str, default="all", help="names a,b,c, quick or all")
    parser.add_argument(
        "--images",
        type=int,
        help="only N test images, drawn evenly over classes and groups",
    )
    parser.add_argument("--output", type=Path, help="folder of evaluation.json: RUN")
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, ...")
    parser.add_argument(
        "--devices", type=str, default="1", help="processes that share the work: a number, or auto"
    )
    parser.add_argument(
        "--root", type=str, help="where the set lies now, or another set of its kind"
    )
    section = parser.add_argument_group("Measures")
    section.add_argument(
        "--metrics",
        type=str,
        default="none",
        help="measures of many passes an image, taken only when named: "
        "road,infidelity,max_sensitivity,randomisation, or all",
    )
    section.add_argument(
        "--target",
        type=Literal["predicted", "true"],
        default="predicted",
        help="class that is explained",
    )
    section.add_argument(
        "--score",
        type=Literal["probability", "logit"],
        default="probability",
        help="what insertion and deletion follow of that class",
    )
    section.add_argument(
        "--substrates",
        type=str,
        default="zeros",
        help="what replaces removed patches: names a,b or all; measures use the first, and the "
        "difference is also averaged over all",
    )
    section.add_argument(
        "--points",
        type=int,
        default=23,
        help="points of each curve, from no patch to all of them",
    )
    section.add_argument(
        "--copies",
        type=int,
        help="masked copies of images held at a time; fewer need less memory",
    )
    section.add_argument(
        "--protocol", type=str, default="none", help="also measure as published: names a,b or all"
    )
    section.add_argument(
        "--coverage",
        type=float,
        default=COVERAGE,
        help="share of new images whose answer an explainer's first patches keep; 0 to leave out",
    )


def execute(options: Namespace) -> None:
    """Measure a run on the test images, write `evaluation.json` and print its table."""
    from iavit.evaluate.sufficient import check_coverage

    again = "give the same command again: what is done is kept"
    processes = share_work(options.devices, options.device, again)
    if processes is None:
        return
    explainers = choose_explainers(options.explainers)
    if options.images is not None and options.images < 1:
        raise UserError(f"`images` is {options.images}; it must be at least 1")
    settings = _settings(options)
    if options.coverage:
        check_coverage(options.coverage)
    run = load_run(options.run, options.device)
    if options.root is not None:
        data = replace(run.config.data, root=options.root)
        run = replace(run, config=replace(run.config, data=data))
    folder = options.output or run.folder
    evaluate_run(
        run,
        explainers,
        settings,
        folder,
        options.images,
        leave_out=options.explainers in ("all", "quick"),
        coverage=options.coverage,
        processes=processes,
    )
    if folder.resolve() != run.folder.resolve():
        say(f"As a page: iavit report {run.folder} --evaluation {folder}")


def evaluate_run(
    run: Run,
    explainers: Mapping[str, Explainer],
    settings: Settings,
    folder: Path,
    count: int | None = None,
    *,
    leave_out: bool = False,
    coverage: float = COVERAGE,
    processes: Processes | None = None,
) -> None:
    """Audit the run, write `evaluation.json` into the folder and print its tables.

    count: measure only so many test images, drawn evenly over classes and groups.
    leave_out: go on without an explainer that refuses the model, and say so.
    coverage: of the patches that suffice; 0 leaves them out.
    processes: that share the audit; all but the first end here.
    """
    from iavit.data.datasets import load_dataset
    from iavit.data.sampling import sample
    from iavit.evaluate.audit import audit
    from iavit.evaluate.evaluation_json import write_evaluation
    from iavit.evaluate.fairness import Names
    from iavit.evaluate.pieces import clear
    from iavit.files import make_folder
    from iavit.report.terminal import evaluation_tables, evaluation_warnings
    from iavit.training.directory import add_bad_images

    make_folder(folder)
    splits = load_dataset(run.config)
    if not splits.classes:
        raise UserError(
            f"`root` {run.config.data.root}: its images have no labels, and measuring needs them; "
            "name a folder with a subfolder for each class"
        )
    if splits.classes != run.saved.classes:
        raise UserError(
            f"`root`: the classes there are {', '.join(splits.classes[:5])}..., and the model's "
            f"{', '.join(run.saved.classes[:5])}...; give images of the model's classes"
        )
    images = sample(splits.test, count)
    promise = _promise(splits.val, coverage) if coverage else None
    with progress(processes is None or processes.first) as report:
        evaluation = audit(
            run.saved.model,
            images,
            explainers,
            dataset=run.config.data.data,
            seed=run.config.training.seed,
            settings=settings,
            leave_out=leave_out,
            progress=report,
            names=Names(splits.attribute, splits.groups, splits.classes),
            drawn_from=len(splits.test),
            promise=promise,
            folder=folder,
            processes=processes,
        )
    add_bad_images(run.folder, images.left_out)
    write_evaluation(folder, evaluation)
    clear(folder)
    if coverage and promise is None:
        say(
            f"Patches that suffice are left out: {len(splits.val)} validation images cannot "
            f"promise a coverage of {coverage:g}."
        )
    for table in evaluation_tables(evaluation):
        console().print(table)
    for line in evaluation_warnings(evaluation):
        say(line)
    if run.config.data.data == "table" and not splits.groups:
        say(f"No groups are compared: {run.config.data.root} has no column 'group'; add one.")
    for line in evaluation.fairness.undefined if evaluation.fairness else ():
        say(f"Fairness by {splits.attribute}: {line}.")


def _promise(calibration: Images, coverage: float) -> Promise | None:
    """Of the patches that suffice; None where there are too few images for it."""
    from iavit.evaluate.sufficient import Promise, images_needed

    promise = Promise(coverage, calibration)  # which refuses what is no coverage
    return promise if len(calibration) >= images_needed(coverage) else None


def _settings(options: Namespace) -> Settings:
    """What `iavit evaluate` was asked to measure."""
    from iavit.evaluate.measurement import Settings
    from iavit.evaluate.metrics import optional_metrics
    from iavit.evaluate.protocols import PROTOCOLS
    from iavit.masking.substrates import SUBSTRATES

    return Settings(
        metrics=choose("metrics", options.metrics, optional_metrics()),
        target=options.target,
        score=options.score,
        substrates=choose("substrates", options.substrates, SUBSTRATES),
        points=options.points,
        copies=options.copies,
        protocol=choose("protocol", options.protocol, PROTOCOLS),
    )


COMMAND = Command("measure a run on the test images", add_options, execute)
