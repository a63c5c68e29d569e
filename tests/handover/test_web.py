"""The folder that `export --web` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from iavit.errors import UserError
from iavit.handover import web as web_module
from iavit.handover.classifier import Classifier
from iavit.handover.web import export_page, page_description, page_files
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved


def test_what_the_page_knows_of_the_model(classifier: Classifier) -> None:
    known = page_description(classifier.saved, "browser")
    assert known["classes"] == ["cat", "dog", "<b>fox</b>"]
    assert (known["side"], known["grid"]) == (32, [8, 8])
    assert known["mean"] == pytest.approx([0.2, 0.4, 0.6])
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


def test_an_empty_folder_is_as_good_as_a_new_one(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached() -> None:
        raise UserError("the folder is not refused")

    monkeypatch.setattr(web_module, "onnxruntime_web", reached)
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        with pytest.raises(UserError, match="the folder is not refused"):
            export_page(classifier.saved, tmp_path / name)


@pytest.mark.slow
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


def test_a_page_has_its_files_the_runtime_the_model_and_what_it_knows(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = SimpleNamespace(SerializeToString=lambda: b"graph")
    monkeypatch.setattr(web_module, "onnxruntime_web", lambda: {"ort.wasm": b"runtime"})
    monkeypatch.setattr(web_module, "onnx_graph", lambda saved: graph)
    folder = tmp_path / "deep" / "page"
    for _ in range(2):  # it may be written again
        weight = export_page(classifier.saved, folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    own = page_files("browser")
    assert files.keys() == own.keys() | {"ort.wasm", "model.onnx", "model.json"}
    assert weight == sum(map(len, files.values()))
    assert (files["ort.wasm"], files["model.onnx"]) == (b"runtime", b"graph")
    assert json.loads(files["model.json"]) == json.loads(
        json.dumps(page_description(classifier.saved, "browser"))
    )
    assert "\\u" not in files["model.json"].decode()


def test_a_page_asks_for_a_model_of_square_images(classifier: Classifier) -> None:
    wide = IAViT.create("vit_digits", 3, (16, 24))
    saved = Saved(wide, classifier.classes, classifier.saved.normalisation)
    with pytest.raises(UserError, match="by models of square images; this one's are not"):
        page_description(saved, "server")
    known = page_description(classifier.saved, "server")
    assert (known["runs"], known["backbone"]) == ("server", "vit_digits")
    assert list(known) == [
        "runs", "side", "classes", "mean", "std", "grid", "bias", "backbone", "version", "commit",
        "sha256", "fractions",
    ]  # fmt: skip
