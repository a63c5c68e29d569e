"""The command line: options in, one command run, mistakes told in one line.

Nothing heavy is imported here; a command imports what it needs when it runs.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_type_hints

from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, Namespace

from iavit import __version__, commands
from iavit.config import Config, starting_point
from iavit.errors import UserError

EXIT_MISTAKE = 2


class _Parser(ArgumentParser):
    """Tells a mistake in one line, with the nearest names that exist."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        told = " ".join(part.strip(" -") for part in message.splitlines() if part.strip())
        told = told.replace('Parser key "', "--").replace('":', ":", 1)
        if told.lower().startswith("unrecognized arguments:"):
            unknown = told.split(":", 1)[1].split()[0].split("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            told = f"'{unknown}' is no option of {self.prog}" + _nearest(unknown, known)
        raise UserError(told)


@dataclass(frozen=True)
class Command:
    """A command: its line in `--help`, its options, and what runs it."""

    told: str
    options: Callable[[ArgumentParser, Sequence[str]], None]
    run: Callable[[Namespace], None]


def _demo_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="run directory")
    parser.add_argument("--seed", type=int, default=0, help="fixes the run")
    parser.add_argument("--steps", type=int, default=None, help="train shorter or longer")


def _datasets_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    parser.add_argument("--root", type=str, default=None, help="where to look for their files")


def _train_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """All settings, in groups, starting from the data set's preset or the run to be resumed."""
    config = Config()
    for group in fields(Config):
        settings = getattr(config, group.name)
        section = parser.add_argument_group(type(settings).__doc__)
        hints = get_type_hints(type(settings))
        for setting in fields(settings):
            switch: dict[str, Any] = {}
            if hints[setting.name] is bool:
                switch = {"nargs": "?", "const": True}
            section.add_argument(
                f"--{setting.name.replace('_', '-')}",
                **switch,
                type=hints[setting.name],
                default=getattr(settings, setting.name),
                help=setting.metadata["help"],
            )
    section = parser.add_argument_group("Run")
    section.add_argument("--output", type=Path, default=None, help="run directory: runs/DATA")
    section.add_argument("--resume", action="store_true", help="go on where --output stopped")
    asked = _peek(given)
    if asked.get("resume") and asked.get("output"):
        from iavit.training.directory import read_config

        parser.set_defaults(read_config(Path(asked["output"])).flat())
    else:
        start = starting_point(asked.get("data", "digits"), asked.get("objective"))
        parser.set_defaults(start.flat())


def _evaluate_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--explainers", type=str, default="all", help="names a,b,c, quick or all")
    parser.add_argument("--images", type=int, default=None, help="only the first N test images")
    parser.add_argument("--output", type=Path, default=None, help="folder of evaluation.json: RUN")
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, ...")
    section = parser.add_argument_group("Measures")
    section.add_argument(
        "--metrics",
        type=str,
        default="none",
        help="what costs many passes an image, beside all that does not: "
        "road,infidelity,max_sensitivity,randomisation, or all",
    )
    section.add_argument(
        "--target", type=Literal["predicted", "true"], default="predicted", help="class explained"
    )
    section.add_argument(
        "--score", type=Literal["probability", "logit"], default="probability", help="of that class"
    )
    section.add_argument(
        "--substrates",
        type=str,
        default="zeros",
        help="what stands where a patch is not: names a,b, the first for all measures; or all",
    )
    section.add_argument("--points", type=int, default=23, help="of a curve, its ends among them")
    section.add_argument(
        "--copies", type=int, default=None, help="masked copies held at a time: bounds the memory"
    )
    section.add_argument(
        "--protocol", type=str, default="none", help="a source's own way: names a,b, or all"
    )


def _explain_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("images", type=Path, nargs="+", help="image files of any size")
    parser.add_argument("--explainer", type=str, default="interpreter", help="whose map")
    parser.add_argument("--output", type=Path, default=None, help="folder: RUN/explanations")
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, ...")


def _report_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument(
        "--evaluation", type=Path, default=None, help="folder that evaluate --output named: RUN"
    )
    parser.add_argument("--output", type=Path, default=None, help="folder: report, beside it")


def _reproduce_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    parser.add_argument("name", type=str, help="data set whose study it is")
    parser.add_argument("--output", type=Path, default=None, help="folder: runs/reproduce-NAME")
    parser.add_argument("--seeds", type=str, default="1", help="how many, or which: a,b,c")
    parser.add_argument(
        "--settings", type=str, default="ours", help="ours, or the authors' optimiser and images"
    )
    parser.add_argument(
        "--budget", type=str, default="full", help="full, or small: to be tried in minutes"
    )
    parser.add_argument("--root", type=str, default=None, help="where the data set's files lie")
    parser.add_argument(
        "--weights", type=str, default=None, help="file to start from, not published weights"
    )
    parser.add_argument(
        "--beside", type=str, default="", help="folders a,b of other studies, for figure 3"
    )


COMMANDS: dict[str, Command] = {
    "demo": Command(
        "the whole way on embedded data: train, evaluate, explain, report",
        _demo_options,
        commands.demo,
    ),
    "datasets": Command(
        "what is available, how large, whether it is here", _datasets_options, commands.datasets
    ),
    "train": Command(
        "train a model; --resume goes on where it stopped", _train_options, commands.train
    ),
    "evaluate": Command("measure a run on the test images", _evaluate_options, commands.evaluate),
    "explain": Command(
        "explain the predictions of image files", _explain_options, commands.explain
    ),
    "report": Command("a run as one self-contained page", _report_options, commands.report),
    "reproduce": Command(
        "the paper's tables and figures on a data set", _reproduce_options, commands.reproduce
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, or 2 for a mistake in what was asked."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given)
    except UserError as error:
        print(f"iavit: {_one_line(str(error))}", file=sys.stderr)
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        print("iavit: interrupted", file=sys.stderr)
        return 130


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if given[0] == "--version":
        print(f"iavit {__version__}")
        return 0
    name = given[0]
    if name not in COMMANDS:
        raise UserError(f"there is no command '{name}'" + _nearest(name, COMMANDS))
    command = COMMANDS[name]
    parser = _Parser(prog=f"iavit {name}", description=command.told)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of these options")
    command.options(parser, given[1:])
    try:
        options = parser.parse_args(given[1:])
    except ArgumentError as error:
        raise UserError(str(error)) from error
    try:
        command.run(options)
    except UserError as error:
        raise UserError(_with_options(str(error), parser)) from error
    return 0


def _with_options(message: str, parser: ArgumentParser) -> str:
    """The library's names of parameters as options of the command: `batch_size`, --batch-size."""
    for action in parser._actions:
        if action.option_strings:
            message = message.replace(f"`{action.dest}`", action.option_strings[-1])
    return message


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.told}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"iavit {__version__}: image classifiers that explain themselves, trained and audited",
            "",
            "usage: iavit COMMAND [options]",
            "",
            *lines,
            "",
            "`iavit COMMAND --help` lists a command's options.",
        ]
    )


def _peek(given: Sequence[str]) -> dict[str, Any]:
    """The few options that decide the defaults of the others, before those are parsed."""
    asked: dict[str, Any] = {}
    for position, word in enumerate(given):
        name, equals, value = word.partition("=")
        following = given[position + 1] if position + 1 < len(given) else ""
        if name == "--config":
            asked = _from_file(value if equals else following) | asked
        elif name in ("--data", "--objective", "--output"):
            asked[name[2:]] = value if equals else following
        elif name == "--resume":
            asked["resume"] = True
    return asked


def _from_file(path: str) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}  # the parser proper says what is wrong with it
    if not isinstance(values, Mapping):
        return {}
    return {name: str(values[name]) for name in ("data", "objective") if name in values}


def _nearest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, list(known), n=3)
    return f"; did you mean {', '.join(near)}?" if near else "; see --help"


def _one_line(text: str) -> str:
    return " ".join(text.split())
