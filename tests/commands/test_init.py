"""The options of every command: what each is read as, and what holds where it is not given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from iavit.commands import COMMANDS
from iavit.config import RECIPES, starting_point

RUN: dict[str, Any] = {"output": None, "preset": None, "resume": False, "dry_run": False}
START = starting_point().flat()

# What a command is given at least, and what it then goes by.
DEFAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "demo": ("", {"output": Path("runs/demo"), "seed": 0, "steps": None}),
    "datasets": ("", {"root": None}),
    "list": ("metrics", {"what": "metrics"}),
    "train": ("", START | RUN),
    "attach": (
        "",
        START | RUN | vars(RECIPES["faithful"]) | {"steps": 0, "interpreter_steps": 2000}
        | {"run": None},
    ),
    "evaluate": (
        "r",
        {
            "run": Path("r"), "explainers": "all", "images": None, "output": None, "root": None,
            "device": "auto", "devices": "1", "metrics": "none", "target": "predicted",
            "score": "probability", "substrates": "zeros", "points": 23, "copies": None,
            "protocol": "none", "coverage": 0.9,
        },
    ),
    "explain": (
        "r a.png b",
        {
            "run": "r", "images": [Path("a.png"), Path("b")], "target": None, "output": None,
            "explainer": "contributions", "format": "png", "device": "auto", "devices": "1",
        },
    ),
    "report": ("r", {"run": Path("r"), "evaluation": None, "output": None}),
    "export": (
        "r",
        {
            "run": Path("r"), "file": None, "web": None, "pixels": False, "int8": False,
            "images": 1000,
        },
    ),
    "card": (
        "r",
        {"run": Path("r"), "output": None, "provider": None, "purpose": None, "licence": None},
    ),
    "serve": (
        "r",
        {
            "run": "r", "host": "127.0.0.1", "port": 8000, "workers": 1, "token": None,
            "device": "auto", "megabytes": 20, "megapixels": 50, "seconds": 30, "queue": 256,
            "files": 16, "together": 16,
        },
    ),
    "reproduce": (
        "digits",
        {
            "name": "digits", "output": None, "seeds": "1", "settings": "ours", "budget": "full",
            "root": None, "weights": None, "beside": "",
        },
    ),
}  # fmt: skip

# Options as they are typed, and as what they are read.
TYPED: dict[str, dict[str, Any]] = {
    "demo": {"output": Path("3"), "seed": 7, "steps": 5},
    "datasets": {"root": "3"},
    "list": {},
    "train": {"output": Path("3"), "preset": "cifar10", "resume": True, "dry_run": True}
    | {"pixel_range": "3", "img_size": 28, "lr": 0.5, "freeze": True, "precision": "16"},
    "attach": {"output": Path("3"), "dry_run": True, "root": "3"},
    "evaluate": {
        "explainers": "3", "images": 7, "output": Path("3"), "root": "4", "device": "5",
        "devices": "6", "metrics": "7", "target": "true", "score": "logit", "substrates": "8",
        "points": 9, "copies": 10, "protocol": "11", "coverage": 0.75,
    },
    "explain": {
        "target": "3", "output": Path("4"), "explainer": "5", "format": "6", "device": "7",
        "devices": "8",
    },
    "report": {"evaluation": Path("3"), "output": Path("4")},
    "export": {"web": Path("3"), "pixels": True, "int8": True, "images": 7},
    "card": {"output": Path("3"), "provider": "4", "purpose": "5", "licence": "6"},
    "serve": {
        "host": "3", "port": 4, "workers": 5, "token": "6", "device": "7", "megabytes": 0.5,
        "megapixels": 0.25, "seconds": 1.5, "queue": 8, "files": 9, "together": 10,
    },
    "reproduce": {
        "output": Path("3"), "seeds": "4", "settings": "5", "budget": "6", "root": "7",
        "weights": "8", "beside": "9",
    },
}  # fmt: skip


def parser(name: str, given: list[str]) -> ArgumentParser:
    made = ArgumentParser(prog=name, exit_on_error=False)
    COMMANDS[name].add_options(made, given)
    return made


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_goes_by_where_nothing_is_said(name: str) -> None:
    given, expected = DEFAULTS[name]
    words = given.split()
    assert parser(name, words).parse_args(words).as_dict() == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_is_read_as_what_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iavit.commands.train.peek", lambda given: {})  # no run to go on with
    words = DEFAULTS[name][0].split()
    for option, value in TYPED[name].items():
        written = f"--{option.replace('_', '-')}"
        words.append(written if value is True else f"{written}={value}")
    read = parser(name, words).parse_args(words).as_dict()
    assert read == read | TYPED[name]
    for option, value in TYPED[name].items():
        assert type(read[option]) is type(value)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_and_what_it_takes(name: str) -> None:
    """A value from a file of settings is checked by that, too."""
    for action in parser(name, [])._actions:
        assert action.help, action.dest
        if action.nargs != 0:
            assert getattr(action, "_typehint", None) or action.type, action.dest
        assert action.dest in {"help", "help_all"} | DEFAULTS[name][1].keys()
