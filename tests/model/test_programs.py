"""Files of TorchScript: those that only compute are loaded, all others refused by name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.programs import read_program
from tests.model.models import convolutional, pictures, script, trace


class Saves(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        torch.save(images, "stolen.pt")  # in TorchScript: an operator that writes a file
        return images.mean(dim=(2, 3))


class Prints(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        print("\x1b[2J")
        return images.mean(dim=(2, 3))


class Forks(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        future = torch.jit.fork(torch.neg, images)
        return torch.jit.wait(future).mean(dim=(2, 3))


class Looks(nn.Module):
    """All that a compiled classifier may do: branches, loops, errors of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = convolutional()

    def forward(self, images: Tensor) -> Tensor:
        if images.size(1) != 3:
            raise ValueError("three channels")
        for _ in range(2):
            images = images + 1
        return self.inner(images)


@pytest.mark.parametrize("write", [script, trace])
def test_a_classifier_says_what_it_said(
    write: Callable[[nn.Module, Path], Path], tmp_path: Path
) -> None:
    model = convolutional().eval()
    module = read_program(write(model, tmp_path / "model.pt")).module()
    torch.testing.assert_close(module(pictures()), model(pictures()), rtol=0, atol=0)


def test_compiled_code_of_its_own_is_read(tmp_path: Path) -> None:
    model = Looks().eval()
    module = read_program(script(model, tmp_path / "model.pt")).module()
    torch.testing.assert_close(module(pictures()), model(pictures()))


@pytest.mark.parametrize(
    ("model", "named"),
    [(Saves(), "calls torch.save, "), (Prints(), "calls print, "), (Forks(), "calls fork")],
    ids=["save", "print", "fork"],
)
def test_what_does_more_than_compute_is_refused_by_name(
    model: nn.Module, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = script(model.eval(), tmp_path / "model.pt")
    with pytest.raises(UserError, match=named) as error:
        read_program(path)
    assert "\n" not in str(error.value)
    assert [found.name for found in tmp_path.iterdir()] == ["model.pt"]


def with_line(line: str, folder: Path) -> Path:
    """A classifier's file with a line put into its code."""
    path, changed = trace(convolutional().eval(), folder / "model.pt"), folder / "changed.pt"
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(changed, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if b"    return torch.flatten(" in content:
                head, tail = content.decode().split("    return ")
                content = f"{head}{line}    return {tail}".encode()
            after.writestr(name, content)
    return changed


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('    torch.save(argument_1, "x")\n', "torch.save"),
        ('    torch . save(argument_1, "x")\n', "torch.save"),
        ('    t = torch\n    t.save(argument_1, "x")\n', "torch"),
        ('    save = torch.save\n    save(argument_1, "x")\n', "torch.save"),
        ('    torch.from_file("/etc/passwd", False, 8)\n', "torch.from_file"),
        ('    ops.aten.save(argument_1, "x")\n', "ops.aten.save"),
        ('    o = ops.aten\n    o.save(argument_1, "x")\n', "ops.aten"),
        ("    ops.prim.Print(argument_1)\n", "ops.prim.Print"),
        ("    ops.mine.run(argument_1)\n", "ops.mine.run"),
        ("    x = __torch__.torch.classes.mine.Thing.__new__()\n", "__torch__.torch.classes.mine"),
        ("    rpc_sync(argument_1)\n", "rpc_sync"),
    ],
)
def test_code_that_was_put_into_a_file_is_found(line: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"calls .*{named}"):
        read_program(with_line(line, tmp_path))


def test_of_many_calls_the_first_five_are_named(tmp_path: Path) -> None:
    lines = "".join(f"    ops.prim.{letter}(argument_1)\n" for letter in "FBDACE")
    with pytest.raises(UserError, match=r"calls (ops\.prim\.[ABCDE], ){5}which do more"):
        read_program(with_line(lines, tmp_path))


@pytest.mark.parametrize("line", ["    x = missing_name\n", "    x = torch.relu(1, 2, 3, 4)\n"])
def test_code_that_cannot_be_compiled_is_refused_when_it_is_read(line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"changed\.pt: cannot be loaded: ") as error:
        read_program(with_line(line, tmp_path))
    assert "\n" not in str(error.value)


def test_what_is_no_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(UserError, match="there is no such file"):
        read_program(path)
    for write in (
        lambda: path.write_bytes(b"not a zip archive"),
        lambda: torch.save(convolutional().state_dict(), path),
        lambda: path.write_bytes(trace(convolutional(), path).read_bytes()[:3000]),
    ):
        write()
        with pytest.raises(UserError, match=r"is no file of torch\.export or TorchScript"):
            read_program(path)
