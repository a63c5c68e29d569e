"""Whatever is imported first, torchvision's missing operators stop nobody.

A torchvision of another build than torch cannot be imported as it stands. Where this one can,
these tests say that mending it breaks nothing.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import iavit
from iavit import _torchvision

ROOT = Path(__file__).parents[1]
SITE = sysconfig.get_path("purelib")
PACKAGES = os.pathsep.join((str(Path(iavit.__file__).parents[1]), SITE))
MISMATCHED = "operator torchvision::nms does not exist"


def run(code: str, *switches: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-W", "error::ImportWarning", *switches, "-c", code]
    environment = os.environ | {"PYTHONPATH": PACKAGES}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run_bare(code: str) -> str:
    """The same where no `.pth` file is read: as after `pip install`."""
    return run(code, "-S")


@pytest.mark.slow
@pytest.mark.parametrize("first", ["timm", "lightning.pytorch"])
def test_another_package_imports_after_this_one(first: str) -> None:
    assert run_bare(f"import iavit, {first}, timm; print(timm.__name__)") == "timm"


@pytest.mark.slow
def test_a_failed_import_of_timm_can_be_repeated_after_this_package() -> None:
    code = f"""
try:
    import timm
except RuntimeError as error:
    assert "{MISMATCHED}" in str(error), error
import iavit, timm, torchvision
print(timm.is_model("vit_tiny_patch16_224"), torchvision.__name__)
"""
    assert run_bare(code) == "True torchvision"


@pytest.mark.slow
def test_timm_comes_first_with_the_line_that_setting_up_writes(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    ((line, name),) = re.findall(r"echo '(.+)' > (\S+\.pth)$", makefile, re.MULTILINE)
    assert name > "__editable__.iavit-0.1.0.pth"  # read after it, in the order of names
    (tmp_path / name).write_text(f"{line}\n", encoding="utf-8")
    code = f"""
import site
site.addsitedir({str(tmp_path)!r})
import timm, iavit, torchvision
vit = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=10).eval()
images = __import__("torch").randn(2, 3, 32, 32)
print(tuple(iavit.EXPLAINERS["rollout"](vit, images, vit(images).argmax(-1)).maps.shape))
"""
    assert run_bare(code) == "(2, 2, 2)"


@pytest.mark.slow
@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="not the environment of `make`")
def test_any_order_does_in_the_environment_of_the_project() -> None:
    assert run("import timm, torchvision, iavit; print(timm.__name__)") == "timm"


def test_neither_torch_nor_torchvision_is_loaded_before_it_is_wanted() -> None:
    code = """
import sys, iavit
from iavit._torchvision import BeforeTorchvision
print('torch' in sys.modules, 'torchvision' in sys.modules, type(sys.meta_path[0]).__name__)
print(sys.meta_path[0].find_spec("torch", None), type(sys.meta_path[0]).__name__)
"""
    first = "BeforeTorchvision"  # asked before all others
    assert run_bare(code).splitlines() == [f"False False {first}", f"None {first}"]


def test_who_imports_torchvision_has_the_operators_declared_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declared: list[str] = []
    finder: Any = _torchvision.BeforeTorchvision()
    monkeypatch.setattr(_torchvision, "_declare_operators", lambda: declared.append("all"))
    monkeypatch.setattr(sys, "meta_path", [finder])
    assert finder.find_spec("torch", None) is finder.find_spec("torchvision.ops", None) is None
    assert (declared, sys.meta_path) == ([], [finder])
    assert finder.find_spec("torchvision", None) is None
    assert (declared, sys.meta_path) == (["all"], [])


@pytest.mark.slow
def test_the_finder_leaves_when_it_has_done_its_work() -> None:
    code = """
import sys, iavit
from iavit._torchvision import BeforeTorchvision
count = lambda: sum(isinstance(finder, BeforeTorchvision) for finder in sys.meta_path)
before = count()
import torchvision
print(before, count())
"""
    assert run_bare(code) == "1 0"


def test_operators_that_load_are_left_alone_and_only_missing_ones_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / f"_C{EXTENSION_SUFFIXES[0]}"
    library.touch()
    found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    loaded: list[str] = []
    declared: list[str] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    monkeypatch.setattr(torch.library, "define", lambda name, schema: declared.append(name))
    library.with_name("_C.py").touch()  # nothing to load
    _torchvision._declare_operators()
    assert (loaded, declared) == ([str(library)], [])

    def of_another_build(path: str) -> None:
        raise OSError("undefined symbol")

    monkeypatch.setattr(torch.ops, "load_library", of_another_build)
    _torchvision._declare_operators()
    assert declared == ["torchvision::nms", "torchvision::qnms"]
    library.unlink()
    _torchvision._declare_operators()
    found.origin = None
    _torchvision._declare_operators()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    _torchvision._declare_operators()
    assert len(declared) == 8
