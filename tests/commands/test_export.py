"""`iavit export`: the graph, in 8 bits with what that changes, or a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from iavit.cli import main
from iavit.commands import export
from iavit.data.images import Images
from iavit.errors import UserError
from iavit.evaluate.evaluation import Figure
from iavit.handover import export as graphs
from iavit.handover import onnxruntime_web, quantise, web
from iavit.handover.quantise import Change
from iavit.model.weights import Saved
from iavit.training.directory import load_run


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
        (["--web", "b", "--pixels"], "a page runs the graph as it is"),
        (["--web", "b", "--int8"], "a page runs the graph as it is; leave --int8 and --pixels out"),
        (["--web", "README.md/b"], f"{Path('README.md').resolve()} is a file; name a folder"),
    ],
)
def test_what_the_command_refuses(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["export", str(tiny_run), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"iavit: {words}")


@pytest.fixture
def run(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose graph is a file of so many bytes: 1,234,567, or 2,345,678 with pixels."""

    def write(saved: Saved, path: Path, *, pixels: bool = False) -> None:
        assert saved.classes == load_run(tiny_run).saved.classes
        path.write_bytes(bytes(2_345_678 if pixels else 1_234_567))

    def on(folder: Path, device: str) -> Any:
        assert device == "cpu"
        return load_run(folder)

    monkeypatch.setattr(export, "load_run", on)
    monkeypatch.setattr(graphs, "export_onnx", write)
    return tiny_run


@pytest.mark.parametrize(("options", "size"), [([], "1.2"), (["--pixels"], "2.3")])
def test_the_graph_takes_normalised_images_or_pixels(
    run: Path, tmp_path: Path, options: list[str], size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.onnx"
    assert main(["export", str(run), str(file), *options]) == 0
    assert capsys.readouterr().out == f"{file} has {size} MB\n"


def test_the_change_of_8_bits_is_a_row_a_measure(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def measure(before: Path, after: Path, images: Images) -> dict[str, Change]:
        asked.update(before=before.stat().st_size, after=after.read_bytes(), images=len(images))
        figures = Figure(0.75, 0.7, 0.8), Figure(0.5, 0.4, 0.6), Figure(-0.25, -0.375, -0.125)
        return {"predictor_accuracy": Change(*figures)}

    monkeypatch.setattr(quantise, "quantise", lambda path, to: to.write_bytes(b"x" * 700_000))
    monkeypatch.setattr(quantise, "measure_change", measure)
    monkeypatch.setenv("COLUMNS", "150")
    file = tmp_path / "m.onnx"
    assert main(["export", str(run), str(file), "--int8", "--images", "7"]) == 0
    assert asked == {"before": 1_234_567, "after": b"x" * 700_000, "images": 7}
    first, *table, last = capsys.readouterr().out.splitlines()
    assert first == "In 32 bits it has 1.2 MB."
    assert last == f"{file} has 0.7 MB"
    rows = [[cell.strip() for cell in line.strip("┃│").replace("┃", "│").split("│")]
            for line in table if "┃" in line or "│" in line]  # fmt: skip
    rows = [[cell.replace("\N{MINUS SIGN}", "-") for cell in row] for row in rows]
    assert rows == [
        ["measure", "32 bits", "8 bits", "change", "95 % interval of the change"],
        ["predictor accuracy", "0.750", "0.500", "-0.250", "-0.375 to -0.125"],
    ]


def test_a_page_is_written_and_how_to_look_at_it_said(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(web, "export_page", lambda saved, folder: 15_678_901)
    assert main(["export", str(run), "--web", str(tmp_path)]) == 0
    assert capsys.readouterr().out == (
        f"{tmp_path} has 15.7 MB; look at it: python3 -m http.server --directory {tmp_path}\n"
    )
