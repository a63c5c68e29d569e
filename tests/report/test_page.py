"""The page of a run: complete, self-contained, and safe to open."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from iavit.config import Config
from iavit.data.sampling import spread
from iavit.errors import UserError
from iavit.report import page as page_module
from iavit.report.cells import number, percent
from iavit.report.charts import BAND
from iavit.report.page import listed, write_page
from iavit.training.directory import Run, load_run
from tests.report import CLASSES, COUNT, evaluation, tiny_images, tiny_run

VOID = {"meta", "link", "img", "br", "wbr", "hr", "input"}


class Outline(HTMLParser):
    """What a page is made of; fails on a tag that is closed in the wrong place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return tiny_run(tmp_path / "run")


def drawn(run: Run, folder: str = "report") -> str:
    """Its page."""
    path = write_page(run, tiny_images(), run.folder, run.folder / folder)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return drawn(tiny_run(tmp_path_factory.mktemp("page") / "run"))


def changed(run: Run, change: Callable[[dict[str, Any]], object]) -> str:
    """The page after a change to the evaluation."""
    values = evaluation()
    change(values)
    (run.folder / "evaluation.json").write_text(json.dumps(values))
    return drawn(run)


def test_is_where_it_says(run: Run, tmp_path: Path) -> None:
    path = write_page(run, tiny_images(), run.folder, tmp_path / "some" / "where")
    assert path == tmp_path / "some" / "where" / "index.html"
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]


def test_loads_nothing(page: str) -> None:
    outline = Outline(page)
    sources = [
        value or ""
        for _, attributes in outline.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "poster", "action")
    ]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"base64,[^\"]*", "", page))
    assert not {"script", "iframe", "object"} & {tag for tag, _ in outline.elements}


def test_nothing_in_it_can_run(page: str) -> None:
    """The policy allows this very style alone, and no element has a style or a handler."""
    outline = Outline(page)
    (policy,) = [a["content"] or "" for _, a in outline.elements if "http-equiv" in a]
    (style,) = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    names = {name for _, attributes in outline.elements for name in attributes}
    assert "style" not in names
    assert not [name for name in names if name.startswith("on")]


def test_a_persons_own_images_name_the_page(run: Run) -> None:
    photos = run.folder / "my photos <b>"
    with (run.folder / "config.yaml").open("a") as file:
        file.write(f"data: folder\nroot: {json.dumps(str(photos))}\n")
    path = write_page(load_run(run.folder), tiny_images(), run.folder, run.folder / "report")
    page = path.read_text(encoding="utf-8")
    (title,) = re.findall(r"<h1>(.*)</h1>", page)
    assert unescape(title) == f"my photos <b>: {CLASSES[0]}, {CLASSES[1]} and {CLASSES[2]}"
    assert "<b>" not in title


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "0"), (2, "0 and 1"), (6, "0, 1, 2, 3, 4 and 5"), (10, "0, 1, 2, 3, 4 and 5 more")],
)
def test_many_classes_are_listed_in_part(count: int, text: str) -> None:
    assert listed([str(number) for number in range(count)]) == text


def test_the_first_screen_has_an_image_with_its_map(page: str) -> None:
    first = page[page.index('<figure class="first') : page.index('<p class="lede">')]
    picture, drawn, _ = re.findall(r'alt="([^"]*)"', first)
    assert drawn == f"Map of interpreter over {picture.lower()}"
    assert page.index("<h1>") < page.index('<figure class="first')


def test_a_disagreement_is_no_ground_for_trust(page: str) -> None:
    said = re.findall(r"Image \d+: .*?</span>", page, flags=re.DOTALL)
    disagreeing = [text for text in said if "disagrees" in text]
    assert 0 < len(disagreeing) < len(said)
    assert all("no trust" in text and "of 1" not in text for text in disagreeing)
    assert all("of 1." in text for text in said if "agrees (" in text)


def test_is_well_formed(page: str) -> None:
    outline = Outline(page)
    assert page.startswith("<!DOCTYPE html>")
    assert outline.open == []
    identifiers = [a["id"] for _, a in outline.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    targets = {
        (a["href"] or "")[1:] for _, a in outline.elements if (a.get("href") or "").startswith("#")
    }
    assert targets <= set(identifiers)
    clips = set(re.findall(r"url\(#([^)]*)\)", page))
    assert clips
    assert clips <= set(identifiers)


def test_can_be_read_without_seeing(page: str) -> None:
    outline = Outline(page)
    assert all(a.get("alt") for tag, a in outline.elements if tag == "img")
    assert all(a.get("aria-label") for tag, a in outline.elements if a.get("role") == "img")
    tables = [tag for tag, _ in outline.elements].count("table")
    assert [tag for tag, _ in outline.elements].count("caption") == tables == 6


def test_tells_every_figure(page: str) -> None:
    text = Outline(page).text
    values = evaluation()
    for key in ("predictor_accuracy", "interpreter_accuracy", "agreement"):
        assert percent(values["prediction"][key]["mean"]) in text
    assert number(values["prediction"]["divergence"]["mean"]) in text
    assert number(values["prediction"]["predictor_ece"]) in text
    for section in ("faithfulness", "localisation"):
        for name, figures in values[section].items():
            assert name in text
            for figure in figures.values():
                if isinstance(figure, dict) and "mean" in figure:
                    assert all(number(figure[end]) in text for end in ("mean", "low", "high"))
    for entry in values["comparisons"]:
        assert number(entry["mean"], plus=True) in text
        assert f"{number(entry['low'])} to {number(entry['high'])}" in text
    for value in ("93.1\N{NO-BREAK SPACE}%", "0.414", "\N{MINUS SIGN}0.001", "0.54", "4,000 steps"):
        assert value in text


def test_tells_where_the_figures_come_from(page: str) -> None:
    text = Outline(page).text
    for value in ("version0.1.0", "commit–", "seed7", "torch2.13.0", "devicecpu", "seconds12.5"):
        assert value in text.replace("\n", "")
    assert "learning rate" in text  # the settings


def test_names_are_text(page: str) -> None:
    text = Outline(page).text
    assert "<script" not in page
    assert "<b>" not in page
    assert all(name in text for name in CLASSES)


def test_the_same_run_gives_the_same_page(run: Run) -> None:
    assert drawn(run, "again") == drawn(run)


def test_without_evaluation(run: Run) -> None:
    (run.folder / "evaluation.json").unlink()
    with pytest.raises(UserError, match=r"no evaluation\.json; .*`iavit evaluate`"):
        write_page(run, tiny_images(), run.folder, run.folder / "report")
    assert not (run.folder / "report").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b"\xff\xfe",
        b'{"images": 23}',
        json.dumps(evaluation() | {"images": "many"}).encode(),
        json.dumps(evaluation() | {"faithfulness": {"interpreter": {"difference": 1}}}).encode(),
        json.dumps(evaluation() | {"localisation": []}).encode(),
        json.dumps(evaluation() | {"comparisons": [{"metric": "deletion"}]}).encode(),
        json.dumps(evaluation() | {"provenance": None}).encode(),
    ],
)
def test_with_a_damaged_evaluation(run: Run, content: bytes) -> None:
    (run.folder / "evaluation.json").write_bytes(content)
    with pytest.raises(UserError, match=r"evaluation\.json.* is damaged.*`iavit evaluate`"):
        write_page(run, tiny_images(), run.folder, run.folder / "report")
    assert not (run.folder / "report").exists()


@pytest.mark.parametrize(("share", "told"), [(0.1, True), (0.0, False)])
def test_a_run_that_begins_with_the_labels_alone_says_so(
    run: Run, share: float, told: bool
) -> None:
    with (run.folder / "config.yaml").open("a") as file:
        file.write(f"explain_from: {share}\n")
    path = write_page(load_run(run.folder), tiny_images(), run.folder, run.folder / "report")
    assert ("In the first 10 % of the steps only the labels" in path.read_text()) == told


@pytest.mark.parametrize(
    ("when", "plain", "explains"),
    [("after", True, True), ("joint", False, True), ("none", True, False)],
)
def test_says_whether_the_predictor_is_a_plain_transformer_and_explains_itself(
    run: Run, when: str, plain: bool, explains: bool
) -> None:
    with (run.folder / "config.yaml").open("a") as file:
        file.write(f"interpreter: {when}\n")
    path = write_page(load_run(run.folder), tiny_images(), run.folder, run.folder / "report")
    page = path.read_text()
    assert ("The predictor is the plain vision transformer" in page) == plain
    assert ("explains its own predictions" in page) == explains
    assert ("No interpreter was trained" in page) != explains
    assert ("The loss is first the predictor's" in page) == (when == "after")


def test_a_classifier_of_a_file_is_no_plain_transformer(run: Run) -> None:
    path = run.folder / "config.yaml"
    settings = path.read_text().replace("steps: 4000", "steps: 0")
    path.write_text(f"{settings}interpreter: after\nclassifier: theirs.pt\n")
    page = write_page(load_run(run.folder), tiny_images(), run.folder, run.folder / "report")
    assert "plain vision transformer" not in page.read_text()
    assert "The predictor is the classifier of the file" in page.read_text()


def test_no_heading_of_a_printed_table_stands_alone(page: str) -> None:
    printed = page[page.index("@media print") : page.index("</style>")]
    assert "h2, h3, caption, thead { break-after: avoid; }" in printed
    assert "tbody tr:first-child { break-before: avoid; }" in printed
    assert ".across, h3:has(+ .across) { page: across; }" in printed


def test_training_is_drawn_and_what_lacks_is_told(run: Run, page: str) -> None:
    charts = [a.get("aria-label") for _, a in Outline(page).elements if a.get("role") == "img"]
    assert "loss over the training steps" in charts
    assert "Its metrics.csv has no figures for " in page
    (run.folder / "metrics.csv").unlink()
    page = drawn(run)
    assert "The run has no metrics.csv" in page
    assert "All settings" in page


def test_without_evidence(run: Run) -> None:
    values = evaluation() | {"localisation": {name: {} for name in evaluation()["localisation"]}}
    (run.folder / "evaluation.json").write_text(json.dumps(values))
    path = write_page(run, tiny_images(evidence=False), run.folder, run.folder / "report")
    page = path.read_text(encoding="utf-8")
    assert "pointing" not in page
    assert "evidence mass" not in page
    assert 'id="evidence' not in page
    assert Outline(page).open == []


def test_with_a_single_explainer(run: Run) -> None:
    def only_random(values: dict[str, Any]) -> None:
        for section in ("faithfulness", "localisation"):
            values[section] = {"random": values[section]["random"]}
        values["comparisons"] = []

    page = changed(run, only_random)
    assert "Comparisons" not in page
    assert Outline(page).open == []


def test_with_more_explainers_than_colours(run: Run) -> None:
    def more(values: dict[str, Any]) -> None:
        for index in range(9):
            values["faithfulness"][f"new_{index}"] = values["faithfulness"]["rollout"]

    page = changed(run, more)
    assert all(f"new_{index}" in page for index in range(9))
    assert "thin pale lines" in page


def test_shows_only_images_that_were_evaluated(run: Run) -> None:
    page = changed(run, lambda values: values.update(images=3))
    numbers = [int(found) for found in re.findall(r"Image (\d+):", page)]
    assert sorted(numbers) == sorted(spread(tiny_images())[:3].tolist())
    assert len(numbers) < COUNT


def fuller(values: dict[str, Any]) -> None:
    """What only some evaluations say."""
    figure = {"mean": 0.77123, "low": 0.75123, "high": 0.79123}
    for explained in values["faithfulness"].values():
        explained["substrates"] = {"zeros": {"difference": figure}}
        explained["mean_difference"] = figure
    for entry in values["comparisons"]:
        entry |= {"p": 0.01, "adjusted_p": 0.0423, "inside_noise": False}
    values["images_left_out"] = 3
    values["explained_class"] = "true"
    values["fairness"] = {
        "attribute": "<i>colour</i>",
        "gaps": {"accuracy": figure},
        "explanation_gaps": {},
        "by_group": {
            "red": {"accuracy": figure, "images": 9, "small": True},
            "blue": {"images": 14, "small": False},
        },
    }
    values["protocols"] = {"rise": {"rollout": {"insertion": figure}}}


def test_fuller_files_tell_more(run: Run) -> None:
    (run.folder / "bad_images.txt").write_text("a.png\nb.png\nc.png\nd.png\n")
    page = changed(run, fuller)
    outline = Outline(page)
    assert outline.open == []
    for text in (
        "3 of the test images could not be read",
        "left out 4 files",
        "probability of the true class",
        "explain the true class",
        "0.751 to 0.791",
        "average",
        "p = 0.042",
        "<i>colour</i>",
        "red (few images)",
        "Published protocols",
    ):
        assert text in outline.text.replace("\N{NO-BREAK SPACE}", " "), text
    assert "predicted class" not in outline.text
    assert "<i>" not in page
    assert "insertion minus deletion, averaged over substrates" in outline.text


def test_others_say_nothing_of_it(page: str) -> None:
    text = Outline(page).text
    assert "predicted class" in text
    assert page.count(f'fill-opacity="{BAND}"') == 2 * 3  # two charts, three explainers
    for absent in ("could not be read", "over substrates", "Groups", "protocols"):
        assert absent not in text


def test_without_explainers_there_is_no_page(run: Run) -> None:
    with pytest.raises(UserError, match=r"evaluation\.json has no explainers"):
        changed(run, lambda values: values.update(faithfulness={}, localisation={}, comparisons=[]))
    assert not (run.folder / "report").exists()


def test_the_gallery_is_images_by_explainers(page: str) -> None:
    found = re.findall(r'<table class="gallery.*?</table>', page, flags=re.DOTALL)
    assert len(found) == 2
    for table in found:
        outline = Outline(table)
        tags = [tag for tag, _ in outline.elements]
        images = tags.count("tbody")
        assert images > 0
        assert tags.count("img") == images * (1 + 3)  # the image, and a map an explainer
        heads = re.findall(r'<th scope="col">(.*?)</th>', table)
        assert heads == ["image", "interpreter", "rollout", "random"]
    assert "random over test image" in page


def test_an_evaluation_that_lies_elsewhere(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match=rf"{other} has no evaluation.json"):
        write_page(run, tiny_images(), other, other / "report")
    (run.folder / "evaluation.json").rename(other / "evaluation.json")
    path = write_page(run, tiny_images(), other, other / "report")
    assert path == other / "report" / "index.html"


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({"steps": 4000}, "trained for 4,000 steps, its interpreter as long after it"),
        (
            {"steps": 4000, "interpreter_steps": 1500},
            "trained for 4,000 steps, its interpreter 1,500 steps after it",
        ),
        (
            {"steps": 0, "interpreter_steps": 1500},
            "trained beforehand, its interpreter 1,500 steps after it",
        ),
        ({"epochs": 2.5, "interpreter": "joint"}, "trained for 2.5 epochs"),
        ({"epochs": 1, "interpreter": "joint"}, "trained for 1 epoch"),
        ({"interpreter": "none"}, "trained for 10 epochs, or 500 steps where those are more"),
    ],
)
def test_how_long_a_run_was_in_words(settings: dict[str, Any], length: str) -> None:
    assert page_module.trained(Config.from_flat(settings)) == length


def test_settings_stand_in_their_groups_with_their_meaning() -> None:
    found = page_module._settings(Config.from_flat({"freeze": True, "lr": 0.5}))
    assert list(found) == ["Data", "Model", "Objective", "Training"]
    training = {name: (value, meaning) for name, value, meaning in found["Training"]}
    assert training["freeze"] == ("true", "train the classifier and the interpreter alone")
    assert training["lr"] == ("0.5", "peak learning rate")
    assert training["steps"][0] == "–"
    assert [name for name, _, _ in found["Data"]][:2] == ["data", "root"]
    assert sum(map(len, found.values())) == len(Config().flat())


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ({"data": "folder", "root": "/of/mine/pets.v2"}, "pets: a and b"),
        ({"data": "cifar10", "root": "/of/mine/pets"}, "cifar10: a and b"),
        ({"data": "digits"}, "digits: a and b"),
        ({"data": "folder"}, "folder: a and b"),
    ],
)
def test_a_page_is_called_by_its_images(settings: dict[str, Any], title: str) -> None:
    assert page_module._title(Config.from_flat(settings), ("a", "b")) == title
