"""What the docs show: their Python runs, their command lines are parsed, their links lead on."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from jsonargparse import Namespace
from PIL import Image

from iavit import EXPLAINERS, METRICS, load
from iavit.cli import main
from iavit.commands import COMMANDS
from iavit.data.datasets import DATASETS
from tests import docs_pages
from tests.docs_pages import PAGES, ROOT, SHOWN, anchors, blocks, command_lines, links
from tests.handover.hub_server import TOKEN, serving
from tests.handover.test_hub import point_to

WITH_PYTHON = [page for page in SHOWN if blocks(page, "python")]
LONG = ("docs/attach.md", "docs/handover.md")  # one builds models of 224 pixels, one exports


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table with groups, evaluated."""
    folder = tmp_path_factory.mktemp("people")
    lines = ["image,label,group,split"]
    for number in range(36):
        split = ("train", "val", "test")[number % 3]
        Image.effect_noise((32, 32), 10 + 60 * (number // 3 % 2)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number // 3 % 2},{'ab'[number // 6 % 2]},{split}")
    (folder / "people.csv").write_text("\n".join(lines))
    run = folder / "run"
    words = f"--data table --root {folder / 'people.csv'} --backbone vit_digits --img-size 32"
    steps = "--batch-size 6 --steps 2 --interpreter-steps 2"
    assert main(["train", *words.split(), *steps.split(), "--output", str(run)]) == 0
    assert main(["evaluate", str(run), "--explainers", "contributions,random"]) == 0
    return run


@pytest.fixture
def given(
    tiny_run: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What a reader has: runs, a photograph, a model with images, and a hub to push to."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/demo").symlink_to(tiny_run)
    Path("runs/people").symlink_to(people)
    Image.effect_noise((40, 30), 60).convert("RGB").save("photo.jpg")
    for names in (EXPLAINERS, METRICS, DATASETS):
        for name in ("brightness", "top_row", "night"):  # what a page adds is taken away again
            monkeypatch.setitem(names, name, None)
            monkeypatch.delitem(names, name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    images = torch.randn(3, 3, 32, 32)
    with serving() as stand_in:
        point_to(stand_in.address, monkeypatch)
        yield {
            "model": load("runs/demo").model,
            "images": images,
            "targets": torch.tensor([0, 1, 2]),
            "batches": [(torch.randn(8, 3, 32, 32), torch.arange(8))] * 3,
            "steps": 3,
        }


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if page in LONG else ()) for page in WITH_PYTHON],
)
def test_python_runs(page: str, given: dict[str, Any]) -> None:
    """Block after block, as a reader would, each with what those before it left."""
    for code in blocks(page, "python"):
        exec(compile(code, page, "exec"), given)
    if page in CHECKS:
        CHECKS[page](given)


def _front_page(names: dict[str, Any]) -> None:
    assert names["one"].predicted in {str(digit) for digit in range(10)}
    assert names["one"].contributions("7").shape == (8, 8)
    with Image.open("overlay.png") as overlay:
        overlay.verify()
    assert names["maps"].shape == (4, 14, 14)
    assert {"cross_entropy", "simulation", "alignment"} < names["terms"].keys()


def _attached(names: dict[str, Any]) -> None:
    assert names["model"].extractor.backbone is names["vit"]
    torch.testing.assert_close(names["after"].logits, names["before"], rtol=0, atol=0)
    assert names["model"].contributions(names["images"]).shape == (4, 196, 10)


def _fairness(names: dict[str, Any]) -> None:
    assert names["fairness"].attribute == "group"
    gap = names["fairness"].gaps["equalised_odds"]
    assert 0 <= gap.mean <= 1


def _extended(names: dict[str, Any]) -> None:
    assert names["splits"].test[[3]].labels.tolist() == [1]
    maps = names["brightness"](names["model"], names["images"], names["targets"]).maps
    patch = names["images"][1, :, :4, :4].mean()  # of 4 pixels a side
    torch.testing.assert_close(maps[1, 0, 0], patch)


def _handed_over(names: dict[str, Any]) -> None:
    assert names["explained"].contributions(names["images"]).shape[::2] == (3, 3)
    assert "pass" in names["explained"].cost
    assert names["classes"] == list("0123456789")
    bias = np.array(eval(names["facts"]["bias"]))
    logits = names["contributions"].sum(axis=1) + bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(names["interpreter_probabilities"], shares, atol=1e-5)


CHECKS = {
    "README.md": _front_page,
    "docs/attach.md": _attached,
    "docs/fairness.md": _fairness,
    "docs/extending.md": _extended,
    "docs/handover.md": _handed_over,
}


def test_command_lines_are_parsed_by_the_real_parser(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[tuple[str, Namespace]] = []
    for name, command in COMMANDS.items():

        def execute(options: Namespace, name: str = name) -> None:
            parsed.append((name, options))

        monkeypatch.setitem(COMMANDS, name, replace(command, execute=execute))
    monkeypatch.chdir(tmp_path)
    for run in ("RUN", "OTHER"):
        Path(run).symlink_to(tiny_run)
    Path("runs").mkdir()
    for run in ("plain", "digits"):  # those whose settings decide what may be chosen
        Path("runs", run).symlink_to(tiny_run)
    wrong = []
    for page in SHOWN:
        for words in _of_iavit(page):
            if len(words) == 1 and not words[0].startswith("-"):  # named, not called
                assert words[0] in COMMANDS
                continue
            try:
                status = main(words)
            except SystemExit as end:  # --help
                status = int(end.code or 0)
            if status != 0:
                wrong.append(f"{page}: iavit {' '.join(words)}")
    assert wrong == []
    named = {name for name, _ in parsed}
    assert named >= COMMANDS.keys() - {"list", "datasets"}


def _of_iavit(page: str) -> list[list[str]]:
    """The words after `iavit`, with a value for each placeholder."""
    found = []
    for words in command_lines(page):
        if words[0] == "torchrun" and words[-1] != "..." and "-m" in words:
            words = words[words.index("-m") + 1 :]
        if words[0] == "iavit":
            values = [re.sub(r"^[A-Z]$", "3", word).removesuffix("...") for word in words[1:]]
            for name in COMMANDS if "COMMAND" in values else [""]:
                found.append([name if value == "COMMAND" else value for value in values if value])
    return found


@pytest.mark.parametrize("page", [page for page in SHOWN if command_lines(page)])
def test_other_commands_name_what_there_is(page: str) -> None:
    """Targets of make, scripts with their options, modules, extras of the package."""
    targets = set(re.findall(r"^([a-z-]+):", docs_pages.text("Makefile"), re.MULTILINE))
    project = tomllib.loads(docs_pages.text("pyproject.toml"))["project"]
    for words in command_lines(page):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        elif words[0].startswith("python") and words[1].endswith(".py"):
            strings = {
                node.value
                for node in ast.walk(ast.parse(docs_pages.text(words[1])))
                if isinstance(node, ast.Constant)
            }
            options = {word for word in words[2:] if word.startswith("--")} - {"--help"}
            assert options <= strings, words
        elif words[0].startswith("python"):
            assert words[1] == "-m", words
            assert find_spec(words[2]) is not None, words
        elif words[0] == "cp":  # results that were copied so before
            copied = re.findall(r"\w[\w.]*", words[-2].partition("{")[2])
            assert {path.name for path in (ROOT / words[-1]).iterdir()} >= set(copied) > set()
        elif words[0] == "pip":
            asked = {extra for word in words for extra in _extras(word)}
            assert asked <= set(project["optional-dependencies"]), words


@pytest.mark.parametrize("page", [page for page in SHOWN if blocks(page, "sh")])
def test_every_line_of_a_shell_block_is_a_command_that_is_tested(page: str) -> None:
    shown = [
        line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()
    ]
    lines = [line.split()[0] for line in shown if line.strip() and not line.startswith("#")]
    assert {first for first in lines if first not in docs_pages.PROGRAMS} == set()


def _extras(word: str) -> list[str]:
    inside = re.search(r"\[(.+)\]$", word)
    return inside[1].split(",") if inside else []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    dead = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        place = (ROOT / page).parent / target if target else ROOT / page
        if not place.exists() or (anchor and anchor not in anchors(_page(place))):
            dead.append(link)
    assert dead == []


def _page(place: Path) -> str:
    return place.resolve().relative_to(ROOT).as_posix()


def test_pictures_have_alternative_texts_and_are_small() -> None:
    for page in PAGES:
        for words in re.findall(r"!\[([^\]]*)\]\(", docs_pages.text(page)):
            assert len(words) > 20, f"{page}: {words!r}"
    large = {path.name for path in ROOT.glob("docs/pictures/*") if path.stat().st_size > 120_000}
    assert large == set()
