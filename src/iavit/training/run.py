"""A run from its settings to its directory: train and resume."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from os import PathLike
from pathlib import Path

from lightning import Callback, seed_everything
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from iavit.config import Config
from iavit.console import say
from iavit.data.datasets import load_dataset
from iavit.data.images import Splits
from iavit.data.summary import describe
from iavit.errors import DivergedError, Stopped, UserError, WriteError
from iavit.files import locked, write_yaml
from iavit.model.checkpoints import load_weights
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved, save_model
from iavit.training.checkpoints import last
from iavit.training.datamodule import DataModule
from iavit.training.directory import (
    Run,
    add_bad_images,
    check_folder,
    is_finished,
    load_run,
    read_config,
)
from iavit.training.finetune import freeze
from iavit.training.fit import check_devices, fit
from iavit.training.kept import (
    TRIED,
    beside_file,
    check_answers,
    check_complete,
    check_published,
    class_names,
)
from iavit.training.plan import BATCHES, Plan, plan
from iavit.training.stages import predictor_steps, stages
from iavit.training.task import Task


def train(
    config: Config,
    folder: str | PathLike[str],
    *,
    resume: bool = False,
    console: Console | None = None,
    splits: Splits | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train by the settings and leave everything in the run directory.

    The predictor is that of the checkpoint with the lowest cross-entropy on validation images, the
    interpreter that of the one with its own lowest loss on them; test images are never looked at.
    With `resume`, goes on from the last checkpoint, to the same weights as a run that never
    stopped. Of several processes that train together the first writes.
    splits: the data set that the settings name, where it was loaded for another run.
    callbacks: lightning's, that look on in every stage.

    Raises `UserError` for settings that cannot be carried out, a directory that holds another
    run or is being trained in, a loss that is no number, and a disk that is full. What goes on
    afterwards is a note on the error.
    """
    folder = Path(folder)
    writes = is_first_process()
    console = (console or Console()) if writes else Console(quiet=True)
    try:
        with locked(folder) if writes else nullcontext():
            return _train(config, folder, resume, console, splits, callbacks)
    except (Stopped, WriteError) as error:
        if (folder / "config.yaml").is_file():
            error.add_note(f"go on with `iavit train --resume --output {folder}`")
        raise
    except DivergedError as error:
        error.add_note(
            f"try `iavit train --config {folder / 'config.yaml'} --lr {config.training.lr / 3:.2g} "
            f"--output {folder}-2`, or a lower `clip`"
        )
        raise


def _train(
    config: Config,
    folder: Path,
    resume: bool,
    console: Console,
    splits: Splits | None,
    callbacks: Sequence[Callback],
) -> Run:
    if resume and not has_length(config) and (folder / "config.yaml").is_file():
        config = with_steps(config, read_config(folder).training.steps)
    if is_first_process():
        check_folder(config, folder, resume)
    if resume and is_finished(folder):
        return load_run(folder)
    check_devices(config.training)
    splits = splits or load_dataset(config)
    left_out = splits.train.left_out + splits.val.left_out  # reads both: a mistake shows now
    say(f"{config.data.data}: {describe(splits)}", console)
    _check_pairs(config, len(splits.train))
    classes = class_names(config, splits.classes)
    seed_everything(config.training.seed, verbose=False)
    model = create_model(config, len(classes))
    planned = stages(config, len(splits.train))
    begun = any(last(folder / stage.checkpoints).is_file() for stage in planned)
    if config.model.weights is not None and not begun:
        loaded = load_weights(model, Path(config.model.weights))
        if config.training.steps == 0:
            check_complete(loaded)
        say(str(loaded), console)
    elif config.model.pretrained and config.training.steps == 0 and not begun:
        check_published(config.model, len(classes))
    if config.training.freeze:
        freeze(model, config.training.unfreeze_last)
    if config.training.steps == 0:
        few = splits.train[range(min(TRIED, len(splits.train)))]
        check_answers(model, few.images, config.objective)
    if not has_length(config):
        config = with_steps(config, predictor_steps(config, len(splits.train)))
    if is_first_process():
        write_yaml(folder / "config.yaml", config.flat())
        add_bad_images(folder, left_out)
    for number, stage in enumerate(planned):
        later = (folder / after.checkpoints for after in planned[number + 1 :])
        if any(last(checkpoints).is_file() for checkpoints in later):
            continue  # the run was stopped in a later stage, whose checkpoints hold this one's end
        task = Task(model, config, stage)
        data = DataModule(splits, config, stage.steps * config.training.accumulate)
        fit(task, data, folder, console=console, callbacks=callbacks)
    model.requires_grad_(True)
    saved = Saved(model.eval(), classes, splits.normalisation)
    if is_first_process():
        save_model(saved, folder / "model")
    return Run(folder, config, saved)


def dry_run(config: Config, splits: Splits | None = None) -> dict[str, Plan]:
    """What each stage of a run by these settings will take, by what learns in it.

    Nothing is written. All terms are asked of every step, so a run that begins with the labels
    alone takes less.
    """
    check_devices(config.training)
    splits = splits or load_dataset(config)
    _check_pairs(config, len(splits.train))
    seed_everything(config.training.seed, verbose=False)
    model = create_model(config, len(class_names(config, splits.classes)))
    if config.training.freeze:
        freeze(model, config.training.unfreeze_last)
    few = replace(config, training=replace(config.training, validate_every=BATCHES))
    found: dict[str, Plan] = {}
    for stage in stages(config, len(splits.train)):
        begun = replace(
            stage,
            objective=replace(stage.objective, explain_from=0.0),
            steps=max(stage.steps, BATCHES),  # of a run of two steps more are tried: they are timed
        )
        data = DataModule(splits, few, BATCHES)
        found[stage.learns] = plan(Task(model, few, begun), data, config, stage.steps)
    return found


def is_first_process() -> bool:
    """Whether this is the only process that trains, or the first of those that do so together."""
    # From the environment that lightning or a launcher sets.
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


def has_length(config: Config) -> bool:
    """Whether the settings say how long to train."""
    return config.training.steps is not None or config.training.epochs is not None


def with_steps(config: Config, steps: int | None) -> Config:
    """The same settings for so many steps."""
    return replace(config, training=replace(config.training, steps=steps))


def create_model(config: Config, classes: int) -> IAViT:
    """The model of the settings for so many classes, before it learns anything."""
    if config.model.classifier is not None:
        return beside_file(config.model)
    return IAViT.create(
        config.model.backbone,
        classes,
        config.model.img_size,
        config.model.pretrained,
        interpreter_head=config.model.interpreter_head,
        branch_width=config.model.branch_width if config.objective.interpreter == "after" else 0,
        drop_path=config.model.drop_path,
    )


def _check_pairs(config: Config, images: int) -> None:
    size = min(config.data.batch_size, images)
    if (config.training.mixup or config.training.cutmix) and size % 2:
        raise UserError(
            f"`mixup` and `cutmix` mix images in pairs, and a batch has {size}; "
            "give an even `batch_size`"
        )
