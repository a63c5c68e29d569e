"""A study's page, read as its reader does."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import iavit.experiments.page as page_module
from iavit.config import Config
from iavit.experiments.page import Plate, plate, write_study
from iavit.experiments.runs import Failed
from iavit.experiments.seeds import Estimate
from iavit.experiments.tables import MINUS, Table
from iavit.experiments.variants import Budget, Choices, Planned

CONFIG = replace(Config(), training=replace(Config().training, steps=12_345))
RUNS = [Planned(f"digits-{v}-{s}", v, s, CONFIG) for v in ("plain", "iavit") for s in (0, 2)]
TABLE = Table(
    "accuracy",
    "Accuracy & more",
    "On <all> test images.",
    "variant",
    {"accuracy": ("predictor", "percent"), "change": ("change", "points")},
    {"plain ViT": {"accuracy": Estimate(0.961, 0.95, 0.97, 0.012, 2)},
     "IA-ViT": {"accuracy": Estimate(0.9, 0.88, 0.92, None, 1),
                "change": Estimate(-0.061, -0.08, -0.04, None, 1)}},
)  # fmt: skip


def written(folder: Path, *failed: Failed, budget: Budget = "full") -> str:
    choices = Choices("digits", (0, 2), "authors", budget)
    figures = [Plate("data:image/png;base64,AAAA", "Figure 3. <b>What</b> it shows.")]
    path = folder / "index.html"
    write_study(path, choices, RUNS, failed, [TABLE], figures, {"commit": "abc123"})
    return path.read_text()


def cells(page: str) -> list[list[str]]:
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", page)
    return [[re.sub(r"<.*?>", "", cell) for cell in re.split(r"</t[hd]><td>", row)] for row in rows]


def test_its_head_says_what_was_run(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "<h1>The paper's study on digits</h1>" in page
    assert "4 runs, 2 seeds (0, 2), settings “authors”, budget “full”." in page
    assert "failed" not in page.split("<main>")[0].split("</style>")[1]
    assert "A small budget shows the way" not in page
    assert "A small budget shows the way" in written(tmp_path, budget="small")
    assert "abc123" in page


def test_a_table_has_its_figures_and_dashes(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "Accuracy &amp; more" in page
    assert "On &lt;all&gt; test images." in page
    rows = cells(page)
    assert rows[0] == ["plain ViT", "96.1 ± 1.2 %", "–"]
    assert rows[1] == ["IA-ViT", "90.0 [88.0, 92.0] %", f"{MINUS}6.1 [{MINUS}8.0, {MINUS}4.0]"]


def test_runs_that_failed_are_named_with_their_reason(tmp_path: Path) -> None:
    page = written(tmp_path, Failed(RUNS[3], "RuntimeError: <out of memory>"))
    assert "1 of the runs failed and is in no table:" in page
    assert "<code>digits-iavit-2</code>: RuntimeError: &lt;out of memory&gt;" in page


def test_the_variants_that_were_run_with_their_steps_and_changes(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert "plain ViT: cross-entropy only" in page
    assert "IA-ViT, the interpreter after the predictor" not in page
    assert page.count("<td>12,345, then 12,345 of the interpreter</td>") == 2
    assert page_module._steps(Config.from_flat({"steps": 2000, "interpreter": "joint"})) == "2,000"
    assert page_module._changes({"a": False, "b": 1.0, "c": "mmd"}) == "a false, b 1.0, c mmd"
    shorter = Config.from_flat({"steps": 2000, "interpreter_steps": 500})
    assert page_module._steps(shorter) == "2,000, then 500 of the interpreter"


def test_a_long_name_breaks_between_its_words(tmp_path: Path) -> None:
    """As on the report's page: on a phone its column would leave no room for the others."""
    run = Planned("digits-no_alignment-0", "no_alignment", 0, CONFIG)
    write_study(tmp_path / "index.html", Choices("digits", (0,)), [run], [], [TABLE], [], {})
    assert "<code>no_<wbr>alignment</code>" in (tmp_path / "index.html").read_text()


def test_a_figure_is_in_the_page_itself(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert 'src="data:image/png;base64,AAAA"' in page
    assert "Figure 3. &lt;b&gt;What&lt;/b&gt; it shows." in page
    (tmp_path / "a.png").write_bytes(b"picture")
    encoded = base64.b64encode(b"picture").decode()
    assert plate(tmp_path / "a.png", "c") == Plate(f"data:image/png;base64,{encoded}", "c")


HOSTILE = '<script>alert(1)</script> " onload="alert(2)'


class Elements(HTMLParser):
    """The tags, the attributes' names and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_but_the_pages_own_style_is_allowed(tmp_path: Path) -> None:
    """Whatever rows, columns, captions, failures and the commit are called."""
    rows: dict[str, dict[str, Estimate | None]] = {HOSTILE: {"a": None}}
    table = replace(TABLE, caption=HOSTILE, columns={"a": (HOSTILE, "number")}, rows=rows)
    figure = Plate("data:image/png;base64,AAAA", HOSTILE)
    failed, path = [Failed(RUNS[0], HOSTILE)], tmp_path / "index.html"
    write_study(path, Choices("digits"), RUNS, failed, [table], [figure], {"commit": HOSTILE})
    page = path.read_text()
    style = page.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}' in html.unescape(page)
    elements = Elements(page)
    assert "script" not in elements.tags
    assert elements.tags.count("style") == 1
    assert not {name for name in elements.attributes if name.startswith("on") or name == "style"}
    assert elements.text.count(HOSTILE) == 6
