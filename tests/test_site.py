"""The site of the docs as it is built: no warning, no dead link, nothing from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("mkdocs", reason="the extra `docs` builds the site")


@dataclass
class Found(HTMLParser):
    """What a page asks for, where its links lead, and its anchors."""

    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.anchors.add(named.get("id", ""))
        for name in ("href", "src"):
            if name in named:
                (self.links if tag == "a" else self.loaded).append(named[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    words = ["-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Found]:
    found = {}
    for path in site.rglob("*.html"):
        page = Found()
        page.feed(path.read_text(encoding="utf-8"))
        found[path.resolve()] = page
    return found


def test_links_lead_somewhere_and_nothing_is_fetched(pages: dict[Path, Found]) -> None:
    dead = []
    for path, page in pages.items():
        assert [place for place in page.loaded if "//" in place.partition("?")[0]] == []
        if path.name == "404.html":
            continue  # its links start at the root of wherever the site is served
        for link in page.links + page.loaded:
            target, _, anchor = link.partition("#")
            if "//" in target or target.startswith(("mailto:", "data:")):
                continue
            place = (path.parent / target.partition("?")[0]).resolve() if target else path
            there = place in pages or place.exists()
            if not there or (anchor and place in pages and anchor not in pages[place].anchors):
                dead.append(f"{path.name}: {link}")
    assert dead == []
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_styles_fetch_nothing(site: Path) -> None:
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert "@import" not in text
        assert "url(http" not in text.replace('"', "").replace("'", "")


def test_the_reference_has_every_public_name_and_every_command(pages: dict[Path, Found]) -> None:
    import iavit
    from iavit.commands import COMMANDS

    anchors = set().union(*(page.anchors for page in pages.values()))
    documented = {anchor.rpartition(".")[2] for anchor in anchors}
    dictionaries = {"EXPLAINERS", "METRICS", "PROTOCOLS", "RECIPES", "SUBSTRATES"}
    assert set(iavit.__all__) - dictionaries - {"__version__"} <= documented
    (commands,) = (page for path, page in pages.items() if path.name == "commands.html")
    assert commands.anchors >= COMMANDS.keys()
