"""The run directory, read back. lightning is not imported: using a model does not need it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from iavit.config import Config
from iavit.earlier import without_removed
from iavit.errors import UserError
from iavit.files import read_yaml, write_text
from iavit.model.weights import Saved, load_model


@dataclass(frozen=True)
class Run:
    """A finished run: where it is, its settings, and its model ready for use."""

    folder: Path
    config: Config
    saved: Saved


def load_run(folder: Path) -> Run:
    """A finished run; `UserError` for one that is missing, half-written or of another version."""
    config = read_config(folder)
    if not is_finished(folder):
        raise UserError(
            f"{folder} has no finished model; go on with `iavit train --resume --output {folder}`"
        )
    return Run(folder, config, load_model(folder / "model"))


def read_config(folder: Path) -> Config:
    """The settings of a run, finished or not."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such run; train one with `iavit train`")
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder} is no run: it has no config.yaml; name the folder of a run")
    try:
        values = without_removed(read_yaml(path))
        unknown = sorted(set(values) - set(Config().flat()))
    except UserError as error:
        raise UserError(f"{path}: {error}".replace(f"{path}: {path}", str(path))) from error
    if unknown:
        raise UserError(
            f"{path} has settings that this version does not know ({', '.join(unknown)}); "
            "use the version that wrote it"
        )
    try:
        return Config.from_flat(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


# Settings that move no weight of a run: it may be resumed with others.
_WHERE_AND_HOW_OFTEN = ("root", "cache", "accelerator", "log_every", "workers")
# Those that divide a step's images among processes: it may be resumed with others of the same sum.
_SHARED_BY = ("devices", "batch_size", "strategy")


def check_folder(config: Config, folder: Path, resume: bool) -> None:
    """Refuse a folder that holds anything but the run that is resumed.

    Raises `UserError` that names the settings in which the run differs.
    """
    if not resume:
        if any(path.name != ".lock" for path in folder.iterdir()):
            raise UserError(
                f"{folder} is not empty; give `resume` to go on, or choose another `output`"
            )
        return
    stopped = read_config(folder)
    before, now = stopped.flat(), config.flat()
    free = set(_WHERE_AND_HOW_OFTEN)
    if config.data.data == "shards":
        free.remove("workers")  # each reads shards of its own: the batches would be others
    elif _same_steps(stopped, config):
        free.update(_SHARED_BY)
    changed = {name for name in now if before[name] != now[name]} - free
    if changed and changed <= {"steps", "epochs"} and is_finished(folder):
        raise UserError(
            f"{folder} is trained, and its learning rate has fallen to 0; for more steps start a "
            f"run from it: `weights` {folder / 'model' / 'model.safetensors'}, another `output`"
        )
    if changed:
        differing = (f"`{name}` {before[name]} -> {now[name]}" for name in now if name in changed)
        advice = "resume with the same"
        if changed <= set(_SHARED_BY) and config.data.data != "shards":
            advice = "resume with as many images a step, `batch_size` times `devices`"
        raise UserError(
            f"`resume`: the settings differ from {folder / 'config.yaml'} "
            f"({', '.join(differing)}); {advice}, or choose another `output`"
        )


def _same_steps(one: Config, other: Config) -> bool:
    """Whether both take the same images in every step, by whole models in any number of devices."""
    images = set()
    for config in (one, other):
        devices, strategy = config.training.devices, config.training.strategy
        if not devices.isdigit() or strategy not in ("auto", "ddp"):
            return False
        images.add(config.data.batch_size * int(devices))
    return len(images) == 1


def is_finished(folder: Path) -> bool:
    """Whether the run's model was saved: its description is written last of all."""
    return (folder / "model" / "config.json").is_file()


def bad_images(folder: Path) -> list[str]:
    """Files that a run left out because they could not be read, each name in one line."""
    path = folder / "bad_images.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def add_bad_images(folder: Path, paths: Iterable[str]) -> None:
    """Add files to `bad_images.txt`, once each; nothing is written where there are none.

    A name's backslashes, line breaks and what is no UTF-8 are written with a backslash.
    """
    known = bad_images(folder)
    found = sorted({_in_one_line(path) for path in paths} - set(known))
    if found:
        write_text(folder / "bad_images.txt", "".join(f"{name}\n" for name in [*known, *found]))


def _in_one_line(name: str) -> str:
    escaped = name.replace("\\", "\\\\")
    # `splitlines` breaks at more than line feeds: at what no screen shows.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in escaped)
