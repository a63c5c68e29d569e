"""Whatever is imported first, torchvision's missing operators stop nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-W", "error::ImportWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


MISMATCHED = "operator torchvision::nms does not exist"


@pytest.mark.parametrize("first", ["timm", "lightning.pytorch"])
def test_another_package_imports_after_this_one(first: str) -> None:
    assert run(f"import iavit, {first}, timm; print(timm.__name__)") == "timm"


def test_a_failed_import_of_timm_can_be_repeated_after_this_package() -> None:
    code = f"""
try:
    import timm
except RuntimeError as error:
    assert "{MISMATCHED}" in str(error), error
import iavit, timm, torchvision
print(timm.is_model("vit_tiny_patch16_224"), torchvision.__name__)
"""
    assert run(code) == "True torchvision"


def test_neither_torch_nor_torchvision_is_loaded_before_it_is_wanted() -> None:
    code = "import sys, iavit; print('torch' in sys.modules, 'torchvision' in sys.modules)"
    assert run(code) == "False False"


def test_the_finder_leaves_when_it_has_done_its_work() -> None:
    code = """
import sys, iavit
from iavit._torchvision import BeforeTorchvision
count = lambda: sum(isinstance(finder, BeforeTorchvision) for finder in sys.meta_path)
before = count()
import torchvision
print(before, count())
"""
    assert run(code) == "1 0"
