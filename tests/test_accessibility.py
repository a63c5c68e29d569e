"""axe-core in a real browser on everything that a person reads: nothing serious is found.

`AXE_CORE` names its `axe.min.js` (`npm pack axe-core`); without it, or without Chromium, skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
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
from tests.serve.browser import Page, chromium, static_server
from tests.test_site import site

__all__ = ["site"]

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
AXE = Path(os.environ.get("AXE_CORE", "axe.min.js"))
if not AXE.is_file():
    pytest.skip("axe-core is not here", allow_module_level=True)
WIDTHS, SCHEMES = (390, 1280), ("light", "dark")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


def check(browser: Page, address: str, name: str) -> None:
    """Show a page in two widths and schemes, and let axe look at each."""
    shots = os.environ.get("SCREENSHOTS")
    serious = []
    for scheme in SCHEMES:
        browser.dark(scheme)
        for width in WIDTHS:
            browser.resize(width, 900)
            browser.call("Page.navigate", url=address)
            browser.wait(f"document.readyState === 'complete' && location.href === '{address}'")
            browser.evaluate(AXE.read_text(encoding="utf-8") + "; true")
            found = json.loads(browser.evaluate("axe.run().then(JSON.stringify)"))
            assert found["passes"]
            serious += [
                f"{name} {width} {scheme}: {fault['id']} {fault['nodes'][0]['html'][:120]}"
                for fault in found["violations"]
                if fault["impact"] in ("serious", "critical")
            ]
            if shots:
                browser.screenshot(Path(shots) / f"{name}-{width}-{scheme}.png")
            browser.evaluate(
                "globalThis.localStorage && location.protocol !== 'file:' && localStorage.clear()"
            )
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, name
    assert serious == []


@pytest.mark.parametrize(
    "page", ["index", "tutorial", "method", "reference/python", "reference/commands", "dev/log"]
)
def test_site(browser: Page, site: Path, page: str) -> None:
    with static_server(site) as address:
        check(browser, f"{address}{page}.html", f"site-{page.replace('/', '-')}")


def test_report(browser: Page, tiny_run: Path, tmp_path: Path) -> None:
    words = ["--explainers", "contributions,interpreter,random", "--images", "20"]
    assert main(["evaluate", str(tiny_run), *words, "--output", str(tmp_path)]) == 0
    assert main(["report", str(tiny_run), "--evaluation", str(tmp_path)]) == 0
    check(browser, (tmp_path / "report" / "index.html").as_uri(), "report")


def test_page_without_a_server(browser: Page, tiny_run: Path, tmp_path: Path) -> None:
    try:
        onnxruntime_web()
    except UserError as error:
        pytest.skip(str(error))
    export_page(load(tiny_run).saved, tmp_path / "page")
    with static_server(tmp_path / "page") as address:
        check(browser, address, "page")


def test_study(browser: Page, tmp_path: Path) -> None:
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


def test_front_page(browser: Page, tmp_path: Path) -> None:
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
