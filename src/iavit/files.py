"""Files that are written whole or not at all, and folders that one process writes at a time."""

from __future__ import annotations

import glob
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import yaml
from filelock import FileLock, Timeout

from iavit.errors import UserError, WriteError

YAML_LIMIT, YAML_DEPTH = 100_000, 20  # bytes of a file of settings, brackets in each other


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write to a temporary name beside `path`, then rename it.

    The content is on the disk before the name is: after a power cut the file is the old one or
    the new one. What a killed process left beside the name is removed.

    Raises `WriteError` where the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        remove_left_over(path)
        save(temporary)
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise WriteError(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # it has its name by now, or the folder vanished
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes."""
    write(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON, with null for what it does not have: NaN and infinity."""
    write_text(path, json.dumps(_finite(value), indent=1, ensure_ascii=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write a folder of these files, all or none: beside it, then exchanged for what is there.

    Raises `WriteError` as `write` does.
    """
    whole = folder.resolve()
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}.tmp")
    older = whole.with_name(f".{whole.name}.older.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        for name, data in content.items():
            (temporary / name).write_bytes(data)
            _sync(temporary / name)
        if whole.exists():
            whole.rename(older)
        temporary.rename(whole)
        _sync(whole.parent)
        remove_left_over(whole)
    except OSError as error:
        if older.exists() and not whole.exists():
            older.rename(whole)
        raise WriteError(f"{folder} cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(older, ignore_errors=True)


def remove_left_over(path: Path) -> None:
    """Remove what processes that are gone left beside a file or folder while they wrote it."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        _remove_left_over(temporary)


def _remove_left_over(temporary: Path) -> None:
    if not _is_left_over(temporary):
        return
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(folder: Path) -> Path:
    """Create a folder and those above it; `UserError` if it cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # which has no name that could stay behind
            pass
    except OSError as error:
        raise WriteError(
            f"{folder} cannot be written ({error.strerror or error}); choose another folder"
        ) from error
    return folder


def _is_left_over(temporary: Path) -> bool:
    """Whether the process that writes a temporary file of ours is gone."""
    number = temporary.stem.rpartition(".")[2]
    if not number.isdecimal() or os.name != "posix":
        return False
    try:
        os.kill(int(number), 0)  # signal 0 only asks
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's, or no number of a process
        return False
    return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create the folder and be the only process in it; `UserError` where another one is.

    The system gives the lock up when its process ends, however it ends. Temporary files that a
    killed process left in the folder are removed. A folder that is still empty afterwards is
    removed, and so are the folders that were created for it.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    lock = FileLock(folder / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"{folder} is being trained by another process; wait for it, or choose another `output`"
        ) from error
    except OSError as error:
        raise WriteError(f"{folder} cannot be locked ({error.strerror or error})") from error
    try:
        for temporary in folder.glob(".*.tmp"):
            _remove_left_over(temporary)
        yield
    finally:
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()
        with suppress(OSError):  # not empty: it stays
            for path in created:
                path.rmdir()


class _Quoting(yaml.SafeDumper):
    """Quotes text that readers of other YAML versions take for a number, as `1e5`."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    try:
        float(value)
    except ValueError:
        return dumper.represent_str(value)
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'")


_Quoting.add_representer(str, _text)


def write_yaml(path: Path, values: dict[str, Any]) -> None:
    """Write names and values as YAML, in their order."""
    write_text(path, yaml.dump(values, Dumper=_Quoting, sort_keys=False))


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, by name.

    Raises `UserError` for what is no plain mapping: other types, tags, a name that is there twice,
    and aliases, with which a file of a few lines can stand for one of gigabytes.
    """
    try:
        if path.stat().st_size > YAML_LIMIT:
            raise UserError(f"{path} has more than {YAML_LIMIT:,} bytes; it is no file of settings")
        text = path.read_text(encoding="utf-8")
        depth = 0
        for token in yaml.scan(text):
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                raise UserError(f"{path} has an alias (&, *); write the values out")
            depth += isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken)
            depth -= isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken)
            if depth > YAML_DEPTH:
                raise UserError(f"{path} has more than {YAML_DEPTH} brackets in each other")
        node = yaml.compose(text, yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no file of settings in YAML ({reason})") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UserError(f"{path} is no file of settings; write a line `name: value` for each")
    names = [str(key.value) for key, _ in node.value] if node is not None else []
    twice = next((name for name in names if names.count(name) > 1), None)
    if "<<" in names:  # as an alias: one value that other lines hide
        raise UserError(f"{path} merges other settings in (<<); write the values out")
    if twice is not None:
        raise UserError(f"{path} sets {twice} twice; keep one")
    return values
