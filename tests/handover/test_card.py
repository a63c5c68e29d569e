"""The model card: every figure is the evaluation's, and what was not measured says so."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from iavit.config import Config
from iavit.evaluate.evaluation import (
    CurveBands,
    Evaluation,
    Fairness,
    Faithfulness,
    Figure,
    Provenance,
    Sufficient,
    SufficientPatches,
)
from iavit.handover import card
from iavit.handover.card import Statement, card_page, model_card
from iavit.handover.classifier import Classifier, load
from iavit.handover.export import weights_sha256
from iavit.model.weights import Saved

ARTICLE = [
    "(a)", "(b)(i)", "(b)(ii)", "(b)(iii)", "(b)(iv)", "(b)(v)", "(b)(vi)", "(b)(vii)",
    "(c)", "(d)", "(e)", "(f)",
]  # fmt: skip


def figure(mean: float) -> Figure:
    return Figure(mean, mean - 0.0125, mean + 0.0125)


def explainer(difference: float, seconds: float, **more: float) -> Faithfulness:
    figures = {"difference": figure(difference)} | {k: figure(v) for k, v in more.items()}
    return Faithfulness(figures, seconds, CurveBands((), (), (), (), (), (), ()))


def spaced(text: str) -> str:
    """With plain spaces before "%", which otherwise do not break."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


def evaluation() -> Evaluation:
    """Every figure is another one."""
    return Evaluation(
        dataset="<b>digits</b>",
        split="test",
        images=1234,
        images_left_out=0,
        explained_class="predicted",
        score="probability",
        provenance=Provenance("0.0.9", "abc123", 7, "2.13.0", "cpu", 12.5),
        prediction={
            "predictor_accuracy": figure(0.9312),
            "interpreter_accuracy": figure(0.9027),
            "agreement": figure(0.9871),
            "predictor_ece": 0.0331,
            "trust": figure(0.8453),
        },
        faithfulness={
            "rollout": explainer(0.4142, 0.00231),
            "contributions": explainer(0.5713, 0.00042, randomisation=0.0617),
        },
        localisation={"contributions": {"pointing_game": figure(0.7654)}},
        comparisons=(),
        fairness=Fairness(
            attribute="age | band",
            gaps={"accuracy": figure(0.0341)},
            by_group={},
            worst_group="old",
            explanation_gaps={"contributions": {"difference": figure(0.0678)}},
        ),
        sufficient=Sufficient(
            0.9, 432, 987, {"contributions": SufficientPatches(9, figure(0.9191), figure(0.1406))}
        ),
    )


def test_the_figures_are_the_evaluations(classifier: Classifier) -> None:
    text = spaced(model_card(classifier.saved, "demo", evaluation=evaluation()).text)
    assert "On 1,234 test images of &lt;b&gt;digits&lt;/b&gt;; in brackets" in text
    part = replace(evaluation(), drawn_from=56789)
    text_of_part = model_card(classifier.saved, "demo", evaluation=part).text
    assert "On 1,234 of 56,789 test images, drawn evenly over classes, of" in text_of_part
    assert "interval over images: Wilson's of shares, a bootstrap interval of the rest." in text
    for row in (
        "| accuracy of the predictor, whose answer counts | 93.1 % (91.9 % to 94.4 %) |",
        "| accuracy of the interpreter, which explains | 90.3 % (89.0 % to 91.5 %) |",
        "| calibration error of the predictor (ECE; 0 is best) | 0.033 |",
        "Agreement: 98.7 % (97.5 % to 100.0 %).",
        "| contributions | 0.571 (0.559 to 0.584) | 76.5 % (75.3 % to 77.8 %) | 0.42 |",
        "| rollout | 0.414 (0.402 to 0.427) | not measured | 2.31 |",
        "0 is best): contributions 0.062 (0.049 to 0.074).",
        "goes without them; 0 where they disagree): 0.845",
        "| accuracy | 0.034 (0.022 to 0.047) |",
        "- explanations of contributions, difference: 0.068 (0.055 to 0.080)",
        "calibrated on 432 validation images for 90.0 % of new ones: the first 9 patches "
        "(14.1 % of all) of contributions: 91.9 % (90.7 % to 93.2 %) of 987 test images.",
        "lowest accuracy: group old",
        "iavit 0.0.9 at commit abc123, torch 2.13.0",
    ):
        assert row in text
    assert text.index("| contributions | 0.571") < text.index("| rollout |")  # best first
    assert text.count(weights_sha256(classifier.model)) == 2


def test_the_hub_reads_the_figures_with_their_intervals(classifier: Classifier) -> None:
    head = model_card(classifier.saved, "demo", evaluation=evaluation()).data.to_dict()
    ((result,),) = [entry["results"] for entry in head["model-index"]]
    assert result["dataset"] == {"name": "<b>digits</b>", "type": "<b>digits</b>", "split": "test"}
    found = {
        metric["name"]: (
            metric["value"],
            round(metric["args"]["low"], 4),
            round(metric["args"]["high"], 4),
        )
        for metric in result["metrics"]
    }
    assert found == {
        "Accuracy": (0.9312, 0.9187, 0.9437),
        "Interpreter accuracy": (0.9027, 0.8902, 0.9152),
        "Agreement of both branches": (0.9871, 0.9746, 0.9996),
        "Insertion minus deletion of contributions": (0.5713, 0.5588, 0.5838),
    }


def test_without_an_evaluation_nothing_is_left_blank(classifier: Classifier) -> None:
    bare = model_card(classifier.saved, "demo")
    assert "model-index" not in bare.data.to_dict()
    cells = [
        cell.strip()
        for line in bare.text.splitlines()
        if line.startswith("|")
        for cell in line.strip("|").split("|")
    ]
    assert all(cells)
    assert cells.count("not measured") >= 16
    assert not re.search(r"\d\s%", bare.text)
    assert "None" not in bare.text.replace("None are planned", "")
    assert "No evaluation was made: run `iavit evaluate`." in bare.text


def test_every_point_of_the_article_has_its_heading_in_order(classifier: Classifier) -> None:
    text = model_card(classifier.saved, "demo").text
    found = re.findall(r"^## .* — Article 13\(3\)(\S+)$", text, re.MULTILINE)
    positions = [found.index(point) for point in ARTICLE]
    assert len(found) == len(ARTICLE)
    assert set(positions) == set(range(len(ARTICLE)))
    for section in text.split("\n## ")[1:]:
        _, _, said = section.partition("\n")
        assert said.strip()


def test_what_only_the_provider_knows_is_stated_or_said_to_be_missing(
    classifier: Classifier,
) -> None:
    silent = model_card(classifier.saved, "demo")
    assert silent.text.count("not stated") >= 4
    stated = model_card(
        classifier.saved,
        "demo",
        statement=Statement("A & B, a@b.org", "Sorting *letters*", "cc-by-4.0"),
    )
    assert stated.data.to_dict()["license"] == "cc-by-4.0"
    assert "A &amp; B, a@b.org" in stated.text
    assert r"Sorting \*letters\*" in stated.text


class Tags(HTMLParser):
    """The tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.said = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.said += data


def test_the_page_says_the_same_and_asks_for_nothing(classifier: Classifier) -> None:
    names = ("<script>alert(1)</script>", "![x](http://a/b)", "a | b\n# c")
    hostile = Saved(classifier.model, names, classifier.saved.normalisation)
    page = Tags(card_page(model_card(hostile, "<img src=x>", evaluation=evaluation())))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.links == []
    assert page.tags.count("h1") == 1
    assert page.tags.count("h2") == len(ARTICLE) + 1
    for name in ("<script>alert(1)</script>", "![x](http://a/b)", "a | b # c", "<b>digits</b>"):
        assert name in page.said
    assert "93.1 % (91.9 % to 94.4 %)" in spaced(page.said)


def test_nothing_but_the_pages_own_style_is_allowed(classifier: Classifier) -> None:
    """Whatever name a class has: no script, no handler, no style in an element."""
    names = ('" onload="alert(1)', "<style>b{}</style>", "[x](javascript:alert(1))")
    hostile = Saved(classifier.model, names, classifier.saved.normalisation)
    page = card_page(model_card(hostile, "</title><script>", evaluation=evaluation()))
    style = page.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'"
    assert f'http-equiv="Content-Security-Policy" content="{policy}' in page
    assert page.count("<style") == 1
    elements = Tags(page)
    assert "script" not in elements.tags
    assert elements.attributes <= {"lang", "charset", "name", "content", "http-equiv", "class"}
    assert elements.links == []


def test_a_runs_card_counts_its_data(tiny_run: Path) -> None:
    loaded = load(tiny_run)
    assert loaded.evaluation is None
    text = loaded.card("tiny").text
    counted = re.findall(r"^\| (train|val|test) \| ([\d,]+) \| `([0-9a-f]{64})` \|$", text, re.M)
    assert [(name, count) for name, count, _ in counted] == [
        ("train", "96"), ("val", "60"), ("test", "60")
    ]  # fmt: skip
    assert len({digest for _, _, digest in counted}) == 3
    assert "Parent weights: none: trained from nothing." in text
    assert re.search(r"\| digits: trained for 6 steps, .*; 16 images a step, seed 0 \|", text)
    assert "explains itself" in text


def test_the_hub_finds_it_by_its_head(classifier: Classifier) -> None:
    bare = model_card(classifier.saved, "demo", statement=Statement(licence="mit"))
    assert bare.data.to_dict() == {
        "license": "mit",
        "library_name": "iavit",
        "model_name": "demo",
        "pipeline_tag": "image-classification",
        "tags": ["iavit", "image-classification", "explainability", "vision-transformer"],
    }
    measured = model_card(classifier.saved, "demo", evaluation=evaluation()).data.to_dict()
    assert measured["metrics"] == ["accuracy"]
    ((entry,),) = [measured["model-index"]]
    assert entry["name"] == "demo"
    (result,) = entry["results"]
    assert result["task"] == {"type": "image-classification"}
    kinds = {metric["name"]: metric["type"] for metric in result["metrics"]}
    assert kinds["Agreement of both branches"] == "agreement"
    assert kinds["Interpreter accuracy"] == "accuracy"
    assert kinds["Insertion minus deletion of contributions"] == "insertion_minus_deletion"
    assert [metric["args"]["interval"] for metric in result["metrics"]] == [
        *(["95 % Wilson over images"] * 3), "95 % bootstrap over images",
    ]  # fmt: skip
    assert result["metrics"][0]["args"]["images"] == 1234


@pytest.mark.parametrize(
    ("settings", "recipe"),
    [
        (
            {"steps": 4400, "batch_size": 48},
            "digits: trained for 4,400 steps, its interpreter as long after it; 48 images a step, "
            "seed 0",
        ),
        (
            {"data": "folder", "root": "my/horses", "epochs": 2.5, "seed": 3, "objective": "plain"},
            "horses: trained for 2.5 epochs; 64 images a step, seed 3",
        ),
        (
            {"steps": 0, "interpreter_steps": 600},
            "digits: trained beforehand, its interpreter 600 steps after it; 64 images a step, "
            "seed 0",
        ),
    ],
)
def test_what_trained_it_in_a_line(settings: dict[str, Any], recipe: str) -> None:
    config = Config.from_flat(settings)
    assert card._recipe(config) == recipe
    assert card._dataset(None, config) == recipe.partition(":")[0]
    same = replace(evaluation(), dataset=config.data.data)
    assert card._dataset(same, config) == recipe.partition(":")[0]
    assert card._dataset(evaluation(), config) == "<b>digits</b>"
    assert (card._recipe(None), card._dataset(None, None)) == ("not stated", None)
    assert card._evaluated(None) == "not measured"
    here = replace(evaluation().provenance, commit=None)
    said = card._evaluated(replace(evaluation(), provenance=here))
    assert said == "iavit 0.0.9 at commit unknown, torch 2.13.0"


def test_a_plain_classifier_is_not_said_to_explain_itself(classifier: Classifier) -> None:
    text = model_card(classifier.saved, "m", config=Config.from_flat({"objective": "plain"})).text
    assert "explains itself" not in text
    assert "Its interpreter was not trained" in text


def test_a_figure_has_its_interval_where_it_has_one() -> None:
    bare, half = Figure(0.125, None, None), Figure(0.125, 0.0625, None)
    assert spaced(card._share(Figure(0.125, 0.0625, 0.25))) == "12.5 % (6.2 % to 25.0 %)"
    assert card._number(Figure(0.125, 0.0625, 0.25)) == "0.125 (0.062 to 0.250)"
    assert card._share(bare) == card._share(half) == card._share(0.125) == "12.5\N{NO-BREAK SPACE}%"
    assert card._number(None) == card._number(Figure(None, None, None)) == "not measured"


def test_what_was_not_measured_is_said_of_each() -> None:
    assert card._sanity(None) == "Sanity check against random weights: not measured."
    assert card._sufficient(None) == "Patches that suffice for the answer: not measured."
    without = replace(evaluation(), faithfulness={"rollout": explainer(0.4142, 0.00231)})
    assert card._sanity(without) == card._sanity(None)
    assert [row["name"] for row in card._explainers(None)] == ["contributions", "interpreter"]
    assert card._explainers(None)[0]["milliseconds"] == "not measured"
    others = Sufficient(0.9, 432, 987, {"rollout": SufficientPatches(9, figure(0.5), figure(0.5))})
    said = spaced(card._sufficient(replace(evaluation(), sufficient=others)))
    assert said.endswith("for 90.0 % of new ones: not measured.")


def test_text_is_no_markup_and_on_one_line() -> None:
    assert card._plain("a *b*\n# c <i> [d](e) | `f`") == (
        "a \\*b\\* \\# c &lt;i&gt; \\[d\\]\\(e\\) \\| \\`f\\`"
    )
