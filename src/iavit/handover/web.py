"""A page that explains pictures: alone, with the model in the browser, or before a server."""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from iavit.errors import UserError
from iavit.evaluate.trust import FRACTIONS
from iavit.files import make_folder, write_folder
from iavit.handover.export import metadata, onnx_graph
from iavit.handover.onnxruntime_web import onnxruntime_web
from iavit.model.weights import Saved

Runs = Literal["browser", "server"]  # where the page has its answers from

MARK = "model.json"  # a folder with this file is a page, and may be written over


def export_page(saved: Saved, folder: Path) -> int:
    """Write the page and all that it needs into a folder; the number of its bytes.

    Any static server shows it: nothing is fetched from elsewhere, and no picture is sent.

    Raises `UserError` for a folder that cannot be written or holds something else, for a model of
    images that are not square, and where npm or the packages of the extra `export` are missing.
    """
    _check_folder(folder)
    described = page_description(saved, "browser")
    content = page_files("browser") | onnxruntime_web()
    content[MARK] = json.dumps(described, ensure_ascii=False).encode()
    content["model.onnx"] = onnx_graph(saved).SerializeToString()
    write_folder(folder, content)
    return sum(map(len, content.values()))


def page_files(runs: Runs) -> dict[str, bytes]:
    """The page's own files by name, without the model."""
    package = files("iavit")
    other = "server_model.js" if runs == "browser" else "browser_model.js"
    own = [file for file in (package / "handover" / "web").iterdir() if _is_asset(file)]
    content = {file.name: file.read_bytes() for file in own if file.name != other}
    style = package / "report" / "templates" / "style.css"  # one look for all pages
    return content | {"style.css": style.read_bytes()}


def page_description(saved: Saved, runs: Runs) -> dict[str, Any]:
    """What the page knows of the model: `metadata`, as JSON has it.

    fractions: of the patches, that trust shows and hides.
    """
    side = saved.model.architecture.img_size
    if not isinstance(side, int):
        raise UserError(
            "a page explains pictures by models of square images; this one's are not: export the "
            "graph alone, `iavit export RUN FILE.onnx`"
        )
    known = metadata(saved)
    return {
        "runs": runs,
        "side": side,
        **{name: json.loads(known[name]) for name in ("classes", "mean", "std", "grid", "bias")},
        **{name: known[name] for name in ("backbone", "version", "commit", "sha256")},
        "fractions": FRACTIONS,
    }


def _is_asset(file: Traversable) -> bool:
    return file.name.endswith((".html", ".css", ".js"))


def _check_folder(folder: Path) -> None:
    """Before minutes of work are spent on what cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"`web` {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UserError(f"`web` {folder} holds something else; name a new or an empty folder")
    make_folder(folder.resolve().parent)
