"""The tests mirror the tree: each module has a file of its name."""

from __future__ import annotations

from pathlib import Path

import iavit

PACKAGE, TESTS = Path(iavit.__file__).parent, Path(__file__).parent
# Types without behaviour of their own.
WITHOUT = {"commands/command.py", "objective/inputs.py"}


def modules() -> list[Path]:
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return [path for path in found if not path.stem.startswith("__")]


def mirrored(module: Path) -> Path:
    return TESTS / module.parent / f"test_{module.stem.removeprefix('_')}.py"


def test_each_module_has_its_tests() -> None:
    missing = {str(module) for module in modules() if not mirrored(module).is_file()}
    assert missing == WITHOUT


def test_no_file_of_the_package_is_longer_than_350_lines() -> None:
    lengths = {str(m): len((PACKAGE / m).read_text().splitlines()) for m in modules()}
    assert {name: length for name, length in lengths.items() if length > 350} == {}
