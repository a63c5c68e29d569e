"""The folder that `export --web` writes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from iavit.cli import main
from iavit.errors import UserError
from iavit.handover import onnxruntime_web
from iavit.handover import web as web_module
from iavit.handover.classifier import Classifier
from iavit.handover.web import export_page, page_description, page_files


def test_what_the_page_knows_of_the_model(classifier: Classifier) -> None:
    known = page_description(classifier.saved, "browser")
    assert known["classes"] == [str(digit) for digit in range(10)]
    assert (known["side"], known["grid"]) == (32, [8, 8])
    assert known["mean"] == [0.27, 0.27, 0.27]
    np.testing.assert_allclose(known["bias"], classifier.model.interpreter.bias.tolist(), atol=1e-7)
    assert list(known["fractions"]) == [0.1, 0.2, 0.3, 0.5]


@pytest.mark.parametrize("runs", ["browser", "server"])
def test_nothing_of_the_page_comes_from_elsewhere(runs: web_module.Runs) -> None:
    files = page_files(runs)
    assert {"index.html", "page.js", "page.css", "style.css", "worker.js", "fit.js"} <= set(files)
    assert ("browser_model.js" in files) is (runs == "browser")
    assert ("server_model.js" in files) is (runs == "server")
    for name, content in files.items():
        text = content.decode()
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]", text.replace("// ", "")), name
    html = files["index.html"].decode()
    assert not re.search(r"\son[a-z]+=|\sstyle=|<script(?![^>]*\ssrc=)|<style", html)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'; script-src 'self' 'wasm-unsafe-eval';" in policy[1]
    assert "unsafe-inline" not in policy[1]


def test_a_folder_with_something_else_is_left_alone(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds something else; name a new or an empty folder"):
        export_page(classifier.saved, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="is a file; name a folder"):
        export_page(classifier.saved, tmp_path / "thesis.txt")


def test_a_page_is_written_whole_and_over_an_older_one(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_module, "onnxruntime_web", lambda: {"ort.wasm": b"runtime"})
    folder = tmp_path / "new" / "page"
    weight = export_page(classifier.saved, folder)
    assert weight == sum(path.stat().st_size for path in folder.iterdir())
    assert json.loads((folder / "model.json").read_text())["runs"] == "browser"
    (folder / "left over").touch()
    export_page(classifier.saved, folder)
    assert not (folder / "left over").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["page"]

    def fails(saved: object) -> None:
        raise UserError("no exporter here")

    monkeypatch.setattr(web_module, "onnx_graph", fails)
    with pytest.raises(UserError, match="no exporter here"):
        export_page(classifier.saved, tmp_path / "another")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "iavit" / "onnxruntime-web-1.30.0"


def test_without_npm(no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        UserError, match=r"there is no npm to fetch it: install Node\.js"
    ) as refused:
        onnxruntime_web.onnxruntime_web()
    assert str(no_cache) in str(refused.value)  # where to put the files by hand
    assert not no_cache.exists()


def test_another_file_than_the_published_one_is_refused(
    no_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A false npm, which packs a file of its own; and one that cannot reach its registry."""
    npm = tmp_path / "npm"
    npm.write_text(
        "#!/bin/sh\nmkdir -p package/dist\n"
        "echo evil > package/dist/ort.wasm.bundle.min.mjs\n"
        "tar czf onnxruntime-web.tgz package\n"
    )
    npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    with pytest.raises(UserError, match=r"from npm is not that of onnxruntime-web@1\.30\.0"):
        onnxruntime_web.onnxruntime_web()
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"cannot fetch onnxruntime-web@1.30.0 \(.*ENOTFOUND\)"):
        onnxruntime_web.onnxruntime_web()
    assert not no_cache.exists()


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
        (["--web", "README.md/b"], "--web README.md/b cannot be written"),
    ],
)
def test_what_the_command_refuses(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["export", str(tiny_run), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"iavit: {words}")
