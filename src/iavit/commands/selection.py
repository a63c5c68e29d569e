"""What the options of several commands name: explainers, measures, a device, a run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from iavit.errors import UserError

if TYPE_CHECKING:
    import torch

    from iavit.evaluate.processes import Processes
    from iavit.explain import Explainer
    from iavit.training.directory import Run


def load_run(folder: Path, device: str = "auto") -> Run:
    """The run in a folder, its model on the device."""
    from iavit.training import directory

    run = directory.load_run(folder)
    run.saved.model.to(find_device(device))
    return run


def find_device(name: str) -> torch.device:
    """A device by its name; `auto` is the GPU where there is one.

    Of several processes that share the work each has a GPU of its own.
    """
    import torch

    from iavit.evaluate.processes import launched, local_rank

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and launched():
        name = f"cuda:{local_rank()}"
    try:
        device = torch.device(name)
        torch.ones(1, device=device).cpu()  # "meta" holds no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"`device`: there is no device '{name}' here; use cpu") from error
    return device


def count_devices(devices: str, device: str) -> int:
    """How many processes share the work, of a number or `auto`: one for each GPU."""
    if devices == "1":
        return 1
    gpus = 0
    if device != "cpu":
        import torch

        gpus = torch.cuda.device_count()
    if devices == "auto":
        return max(1, gpus)
    if not devices.isdecimal() or int(devices) == 0:
        raise UserError(f"`devices` is '{devices}'; give a number from 1, or auto")
    if gpus and int(devices) > gpus:
        raise UserError(f"`devices` is {devices}; there are {gpus} GPUs here, or `device` cpu")
    return int(devices)


def share_work(devices: str, device: str, again: str) -> Processes | None:
    """The processes that share a command; None where it was carried out by others that it started.

    again: what to do where one of them ends before the work is done.
    """
    from iavit.evaluate.processes import gathered, launch, launched

    count = count_devices(devices, device)
    if count > 1 and not launched():
        launch(count, again)
        return None
    processes = gathered()
    processes.wait_for_plan()
    return processes


def choose_explainers(names: str, option: str = "explainers") -> dict[str, Explainer]:
    """Explainers by `a,b,c`, `quick` or `all`; `UserError` naming the option for an unknown one."""
    from iavit.explain import EXPLAINERS, SLOW

    if names == "quick":
        return {name: explain for name, explain in EXPLAINERS.items() if name not in SLOW}
    chosen = choose(option, names, EXPLAINERS)
    if not chosen:
        raise UserError(f"`{option}`: name one or more of {', '.join(EXPLAINERS)}, quick or all")
    return {name: EXPLAINERS[name] for name in chosen}


def choose(option: str, names: str, known: Iterable[str]) -> tuple[str, ...]:
    """Names by `a,b,c`, `all` or `none`, each once; `UserError` for an unknown one."""
    everything = tuple(known)
    if names in ("all", "none"):
        return everything if names == "all" else ()
    chosen = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    for name in chosen:
        if name not in everything:
            near = difflib.get_close_matches(name, everything) or everything
            raise UserError(f"`{option}`: there is no '{name}'; did you mean {', '.join(near)}?")
    return chosen
