"""What the package says of itself is the same everywhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

import iavit

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_one_version_one_licence_one_author() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert iavit.__version__ == PROJECT["version"] == citation["version"]
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"
    assert PROJECT["authors"] == citation["authors"] == [{"name": "The iavit contributors"}]


def test_what_is_no_module_is_packed() -> None:
    """Every file of `src` is a module or falls under a pattern of package-data."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["iavit"]
    package = ROOT / "src" / "iavit"
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    others = {
        path
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert others == {path for path in packed if path.is_file()}
    assert package / "py.typed" in packed


def test_issue_forms_are_forms() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} == form.keys()
            assert all(field["attributes"]["label"] for field in form["body"])
