from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

# A worker has a core, and so have the programs that its tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from iavit.config import PRESETS, Config
from iavit.data import digits


@pytest.fixture(scope="session", autouse=True)
def _few_scenes() -> None:
    """Sixty scenes a split instead of tens of thousands; the draw is the same."""
    for split in digits.SCENES:
        digits.SCENES[split] = 96 if split == "train" else 60


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(int(os.environ.get("SUITE_SEED", "0")))


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_written_in_place() -> Iterator[None]:
    """What the package writes goes through `iavit.files`: a file is whole, or not there."""

    def through_files(write: Callable[..., int]) -> Callable[..., int]:
        def checked(path: Path, *content: Any, **options: Any) -> int:
            module = sys._getframe(1).f_globals["__name__"]
            assert module == "iavit.files" or not module.startswith("iavit."), module
            return write(path, *content, **options)

        return checked

    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_text", "write_bytes"):
            patch.setattr(Path, name, through_files(getattr(Path, name)))
        yield


@pytest.fixture(scope="session", autouse=True)
def _what_a_dataclass_holds_stays_what_it_was() -> Iterator[None]:
    """One reader cannot change what the next one is handed: those of all modules are frozen."""
    yield
    changeable = [
        f"{name}.{kind.__name__}"
        for name, module in list(sys.modules.items())
        if name.startswith("iavit.")
        for kind in vars(module).values()
        if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == name
        if not kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    ]
    assert changeable == []


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """Six steps on the digits, validated every third."""
    preset = PRESETS["digits"]
    return replace(
        preset,
        data=replace(preset.data, batch_size=16),
        training=replace(preset.training, steps=6, validate_every=3, log_every=2),
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    """A finished run; not to be written to."""
    from iavit.training.run import train

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_config, folder)
    return folder
