"""The command line: options in, one command run, a mistake answered in one line."""

from __future__ import annotations

import difflib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args

from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser

from iavit import __version__
from iavit.commands import COMMANDS
from iavit.console import visible
from iavit.errors import Stopped, UserError
from iavit.files import read_yaml

EXIT_MISTAKE = 2
# How the parser refuses a value of another kind, and what its kinds are called here.
_WRONG_KIND = re.compile(r'Parser key "([^"]+)":.*(?:Got|Given) value: (.*)', re.DOTALL)
_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text, which YAML has in quotes",
}


class _Parser(ArgumentParser):
    """Answers a mistake in one line, with the nearest names that exist."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        wrong = _WRONG_KIND.search(message)
        if wrong is not None:
            raise UserError(self._wrong_kind(*wrong.groups()))
        text = " ".join(part.strip(" -") for part in message.splitlines() if part.strip())
        text = text.replace('Parser key "', "--").replace('":', ":", 1)
        if text.lower().startswith("unrecognized arguments:"):
            unknown = (text.split(":", 1)[1].split() or ["--"])[0].split("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            text = f"'{unknown}' is no option of {self.prog}" + _nearest(unknown, known)
        raise UserError(text)

    def _wrong_kind(self, key: str, value: str) -> str:
        """What a value must be instead, by the type of its option."""
        action = next((action for action in self._actions if action.dest == key), None)
        kind = getattr(action, "_typehint", None)
        kinds = [each for each in get_args(kind) or (kind,) if each is not NoneType]
        expected = " or ".join(_KINDS.get(each, "") for each in kinds if isinstance(each, type))
        expected = expected or f"one of {', '.join(map(str, kinds))}"
        return _with_options(f"`{key}` is {value.strip()}; it must be {expected}", self)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status.

    0; 2 for a mistake in what was asked and for a disk that is full; 128 and the number of the
    signal that stopped it, SIGPIPE among them: nobody reads on.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with _signals():
            status = _run(given)
            sys.stdout.flush()  # that it cannot be written shows here, or when Python ends
            return status
    except UserError as error:
        return _end(error, EXIT_MISTAKE)
    except Stopped as stop:
        return _end(stop, 128 + stop.number)
    except BrokenPipeError:
        _drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _drop_output()
        where = f"{error.filename}: " if error.filename else ""
        return _end(OSError(f"{where}{error.strerror or error}"), EXIT_MISTAKE)


def _end(error: BaseException, status: int) -> int:
    """Print an error and its notes in one line."""
    parts = [str(error), *getattr(error, "__notes__", [])]
    print(f"iavit: {_one_line('; '.join(parts))}", file=sys.stderr)
    return status


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `Stopped`, and ignore those that come while it ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _drop_output() -> None:
    """Let Python end without another attempt to write what standard output did not take."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    parser = _Parser(prog=f"iavit {name}", description=command.summary)
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of these options")
    _check_files(given[1:])
    try:
        command.add_options(parser, given[1:])
        options = parser.parse_args(given[1:])
        command.execute(options)
    except ArgumentError as error:
        raise UserError(str(error)) from error
    except UserError as error:
        notes = [str(error), *getattr(error, "__notes__", [])]
        raise UserError(_with_options("; ".join(notes), parser)) from error
    return 0


def _check_files(given: Sequence[str]) -> None:
    """Refuse a `--config` that is no plain file of settings before the parser expands it."""
    for position, word in enumerate(given):
        name, equals, value = word.partition("=")
        path = Path(value if equals else "".join(given[position + 1 : position + 2]))
        if name == "--config" and path.is_file():
            read_yaml(path)


def _with_options(message: str, parser: ArgumentParser) -> str:
    """The library's names of parameters as the command's: `batch_size` is --batch-size.

    Names that the command does not know stay as they are.
    """
    for action in parser._actions:
        name = action.option_strings[-1] if action.option_strings else action.dest.upper()
        message = message.replace(f"`{action.dest}`", name)
    return message


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
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


def _nearest(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, list(known))
    return f"; did you mean {', '.join(near)}?" if near else "; see --help"


def _one_line(text: str) -> str:
    """On one line, what cannot be printed escaped: a file's name may hold anything."""
    return visible(" ".join(text.split()))
