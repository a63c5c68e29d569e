"""axe-core in a real browser on everything that a person reads: nothing serious is found.

Skipped without Chromium, and where npm cannot fetch axe-core. `AXE_CORE` may name its `axe.min.js`,
`SCREENSHOTS` a folder for pictures of every page, to look at.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from iavit import load
from iavit.cli import main
from iavit.errors import UserError
from iavit.experiments.page import plate, write_study
from iavit.experiments.seeds import Estimate
from iavit.experiments.tables import Table
from iavit.experiments.variants import Choices, plan
from iavit.handover.onnxruntime_web import onnxruntime_web
from iavit.handover.web import export_page
from tests.serve.browser import CHROMIUM, Page, chromium, static_server
from tests.test_site import site

__all__ = ["site"]

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
AXE = "axe-core@4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # of its axe.min.js
WIDTHS = (390, 1280)
SCHEMES = {"light": "default", "dark": "slate"}  # the system's, and what the site calls it


@dataclass
class Reader:
    """A tab, and axe-core's source to look at it with."""

    tab: Page
    axe: str


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    axe = _axe(tmp_path_factory.mktemp("axe"))
    with chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield Reader(tab, axe)


def _axe(folder: Path) -> str:
    """The source of axe-core: the file that `AXE_CORE` names, else from npm."""
    if "AXE_CORE" in os.environ:
        return Path(os.environ["AXE_CORE"]).read_text(encoding="utf-8")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here to fetch axe-core")
    words = [npm, "pack", AXE, "--ignore-scripts", "--pack-destination", str(folder)]
    try:
        subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=60)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm did not fetch axe-core: {error}")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        file = packed.extractfile("package/axe.min.js")
        assert file is not None
        source = file.read()
    assert hashlib.sha256(source).hexdigest() == SHA256
    return source.decode()


def check(reader: Reader, address: str, name: str) -> None:
    """Show a page in two widths and schemes, and let axe look at each."""
    browser = reader.tab
    shots = os.environ.get("SCREENSHOTS")
    serious = []
    for scheme, of_site in SCHEMES.items():
        browser.dark(scheme)
        for width in WIDTHS:
            browser.resize(width, 900)
            browser.call("Page.navigate", url=address)
            browser.wait(f"document.readyState === 'complete' && location.href === '{address}'")
            assert browser.evaluate("document.body.dataset.mdColorScheme") in (None, of_site)
            browser.evaluate(reader.axe + "; true")
            found = json.loads(browser.evaluate("axe.run().then(JSON.stringify)"))
            assert found["passes"]
            serious += [
                f"{name} {width} {scheme}: {fault['id']} {fault['nodes'][0]['html'][:120]}"
                for fault in found["violations"]
                if fault["impact"] in ("serious", "critical")
            ]
            if shots:
                browser.screenshot(Path(shots) / f"{name}-{width}-{scheme}.png")
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, name
    assert serious == []


@pytest.mark.parametrize(
    "page", ["index", "tutorial", "method", "reference/python", "reference/commands", "dev/log"]
)
def test_site(browser: Reader, site: Path, page: str) -> None:
    with static_server(site) as address:
        check(browser, f"{address}{page}.html", f"site-{page.replace('/', '-')}")


def test_report(browser: Reader, tiny_run: Path, tmp_path: Path) -> None:
    words = ["--explainers", "contributions,interpreter,random", "--images", "20"]
    assert main(["evaluate", str(tiny_run), *words, "--output", str(tmp_path)]) == 0
    assert main(["report", str(tiny_run), "--evaluation", str(tmp_path)]) == 0
    check(browser, (tmp_path / "report" / "index.html").as_uri(), "report")


def test_page_without_a_server(browser: Reader, tiny_run: Path, tmp_path: Path) -> None:
    try:
        onnxruntime_web()
    except UserError as error:
        pytest.skip(str(error))
    export_page(load(tiny_run).saved, tmp_path / "page")
    with static_server(tmp_path / "page") as address:
        check(browser, address, "page")


def test_study(browser: Reader, tmp_path: Path) -> None:
    choices = Choices("digits", seeds=(0, 1), budget="small")
    runs = plan(choices, {"random": None})
    cells = {"accuracy": Estimate(0.955, 0.95, 0.96, 0.004, 2), "gap": None}
    columns = {"accuracy": ("predictor accuracy ↑", "percent"), "gap": ("gap ↓", "number")}
    table = Table("accuracy", "Accuracy", "What it costs.", "model", columns, {"IA-ViT": cells})  # type: ignore[arg-type]
    figure = ROOT / "docs" / "results" / "digits" / "figures" / "figure-3.png"
    plates = [plate(figure, "Insertion minus deletion.")]
    provenance = {"version": "0.1.0", "commit": None, "torch": "2.13.0", "device": "cpu"}
    write_study(tmp_path / "index.html", choices, runs, [], [table], plates, provenance)
    check(browser, (tmp_path / "index.html").as_uri(), "study")


def test_front_page(browser: Reader, tmp_path: Path) -> None:
    """The README as a forge shows it: its own markup, little style."""
    body = MarkdownIt("commonmark").enable("table").render((ROOT / "README.md").read_text("utf-8"))
    style = "body{margin:1rem;max-width:60rem}img{max-width:100%}table{display:block;overflow:auto}"
    style += "pre{overflow:auto;background:#f4f4f0}"
    page = body.replace("<table>", '<table tabindex="0">').replace("<pre>", '<pre tabindex="0">')
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "index.html").write_text(
        f'<!DOCTYPE html><html lang="en"><meta name="viewport" content="width=device-width">'
        f"<title>iavit</title><style>{style}</style><main>{page}</main></html>"
    )
    check(browser, (tmp_path / "index.html").as_uri(), "readme")
