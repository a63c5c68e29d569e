"""`iavit export`: the graph, in 8 bits with what that changes, or a page."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from iavit.cli import main
from iavit.errors import UserError
from iavit.handover import onnxruntime_web


@pytest.mark.slow
def test_the_command_writes_the_graph_and_prints_the_change(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.onnx"
    assert main(["export", str(tiny_run), str(file), "--int8", "--images", "12"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for word in ("predictor accuracy", "agreement", "difference", "MB"):
        assert word in printed.out
    assert "MatMulInteger" in {node.op_type for node in onnx.load(file).graph.node}
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["model.pt"], "model.pt"),
        (["model.onnx", "--int8", "--pixels"], "--int8"),
        (["model.onnx", "--images", "0"], "--images"),
    ],
)
def test_what_cannot_be_exported(
    tiny_run: Path,
    tmp_path: Path,
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, *options = arguments
    assert main(["export", str(tiny_run), str(tmp_path / file), *options]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("iavit: ")
    assert printed.err.count("\n") == 1
    assert told in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_writes_a_page(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        onnxruntime_web.onnxruntime_web()
    except UserError as error:
        pytest.skip(str(error))
    folder = tmp_path / "web"
    assert main(["export", str(tiny_run), "--web", str(folder)]) == 0
    weight = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    assert capsys.readouterr().out == (
        f"{folder} has {weight:.1f} MB; look at it: python3 -m http.server --directory {folder}\n"
    )
    assert weight < 16  # of which the runtime is 14.3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a file for the graph, FILE.onnx, or a folder for a page, --web DIR"),
        (["a.onnx", "--web", "b"], "name a file for the graph, FILE.onnx, or a folder for a page"),
        (["--web", "b", "--int8"], "a page runs the graph as it is; leave --int8 and --pixels out"),
        (["--web", "README.md/b"], f"{Path('README.md').resolve()} is a file; name a folder"),
    ],
)
def test_what_the_command_refuses(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["export", str(tiny_run), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"iavit: {words}")
