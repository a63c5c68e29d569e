"""`iavit serve`: what it refuses to start with."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from iavit.cli import main
from iavit.serve import server
from iavit.serve.limits import Limits


def _refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["serve", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_a_port_in_use(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert _refusal(capsys, str(tiny_run), "--port", str(port)) == (
            f"iavit: --port {port} is in use on 127.0.0.1; name another, or 0\n"
        )


def test_a_missing_package(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refusal = _refusal(capsys, str(tiny_run))
    assert refusal == "iavit: serving needs the package uvicorn: pip install 'iavit[serve]'\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "--port is 70000; name one from 1 to 65535, or 0 for a free one"),
        (["--workers", "0"], "--workers is 0; start 1 to 64"),
        (["--token", ""], "--token is empty; give one, or leave the option out"),
        (["--queue", "0"], "--queue is 0; it must be above 0"),
        (["--host", "no.such.host.invalid"], "--host is 'no.such.host.invalid', and there is no"),
        (["--device", "tpu9"], "--device: there is no device 'tpu9' here; use cpu"),
    ],
)
def test_an_option_that_cannot_be(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert _refusal(capsys, str(tiny_run), *arguments).startswith(f"iavit: {words}")


def test_a_run_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such folder" in _refusal(capsys, str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["host", "token", "device"])
def test_a_number_in_a_file_where_a_text_belongs(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "serve.yaml").write_text(f"{name}: 12345\n")
    refusal = _refusal(capsys, str(tiny_run), "--config", str(tmp_path / "serve.yaml"))
    assert refusal == f"iavit: --{name} is 12345; it must be text, which YAML has in quotes\n"


def test_the_server_is_started_as_the_options_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[server.Settings] = []
    monkeypatch.setattr(server, "serve", asked.append)
    where = ["--host", "0.0.0.0", "--port", "0", "--workers", "3", "--token", "t"]
    limits = ["--megabytes", "0.5", "--megapixels", "7", "--seconds", "9", "--queue", "11"]
    more = ["--files", "13", "--together", "17", "--device", "cpu"]
    assert main(["serve", "run", *where, *limits, *more]) == 0
    assert main(["serve", "hf-hub:a/b", "--device", "cpu"]) == 0
    assert asked == [
        server.Settings("run", "0.0.0.0", 0, 3, "t", "cpu", Limits(0.5, 7, 9, 11, 13, 17)),
        server.Settings("hf-hub:a/b", "127.0.0.1", 8000, 1, None, "cpu", Limits(20, 50, 30)),
    ]
    assert capsys.readouterr().out == ""
