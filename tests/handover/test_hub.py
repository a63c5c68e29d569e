"""Models pushed to a stand-in for the hub, and loaded from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, constants

import iavit
from iavit.errors import UserError
from iavit.handover import hub as pushing
from iavit.handover.classifier import Classifier, load
from iavit.model.black_box import BlackBox
from iavit.model.iavit import IAViT
from tests.handover.hub_server import TOKEN, Hub, serving
from tests.handover.pictures import picture


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving() as stand_in:
        point_to(stand_in.address, monkeypatch)
        yield stand_in


def point_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_what_is_pushed_is_what_is_loaded(hub: Hub, classifier: Classifier) -> None:
    address = classifier.push_to_hub("owner/digits")
    assert address == f"{hub.address}/owner/digits"
    files = hub.repositories["owner/digits"]
    assert set(files) == {"README.md", "config.json", "model.safetensors"}
    assert json.loads(files["config.json"])["architecture"]["backbone"] == "vit_digits"
    head = ModelCard(files["README.md"].decode()).data.to_dict()
    assert (head["library_name"], head["pipeline_tag"]) == ("iavit", "image-classification")
    back = load("hf-hub:owner/digits")
    assert back.classes == classifier.classes
    seen, expected = back.explain(picture()), classifier.explain(picture())
    np.testing.assert_array_equal(seen.probabilities, expected.probabilities)
    np.testing.assert_array_equal(seen.map, expected.map)
    model = IAViT.from_pretrained("owner/digits")
    assert not model.training
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images).logits, classifier.model(images).logits)


@pytest.mark.parametrize("private", [False, True])
def test_a_repository_is_open_to_nobody_else_where_that_is_asked(
    hub: Hub, classifier: Classifier, private: bool
) -> None:
    classifier.push_to_hub("owner/digits", private=private)
    assert hub.private == ({"owner/digits"} if private else set())


def test_a_second_push_replaces_the_first(hub: Hub, classifier: Classifier) -> None:
    classifier.push_to_hub("owner/digits")
    first = hub.revision("owner/digits")
    statement = iavit.Statement(provider="Someone, mail@example.org", licence="apache-2.0")
    classifier.push_to_hub("owner/digits", statement=statement)
    assert hub.revision("owner/digits") != first
    card = ModelCard(hub.repositories["owner/digits"]["README.md"].decode())
    assert card.data.to_dict()["license"] == "apache-2.0"
    assert "Someone, mail@example.org" in card.text


def test_nothing_else_is_fetched_from_a_repository(hub: Hub, classifier: Classifier) -> None:
    classifier.push_to_hub("owner/digits")
    hub.repositories["owner/digits"] |= {"setup.py": b"1 / 0", "config.yaml": b"data: digits"}
    folder = load("hf-hub:owner/digits").folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "model.safetensors"
    ]  # fmt: skip


def test_loaded_once_it_is_there_without_the_hub(
    hub: Hub, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier.push_to_hub("owner/digits")
    load("hf-hub:owner/digits")
    point_to("http://127.0.0.1:9", monkeypatch)
    assert load("hf-hub:owner/digits").classes == classifier.classes


@pytest.mark.parametrize("name", ["owner/gone", "no name at all", "a/b/c", "../etc"])
def test_a_repository_that_is_not_there(hub: Hub, name: str) -> None:
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as told:
        load(f"hf-hub:{name}")
    assert "\n" not in str(told.value)


def test_who_may_not_write_is_told_in_one_line(
    hub: Hub, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(UserError, match=r"owner/digits cannot be written \(401.*hf auth") as told:
        classifier.push_to_hub("owner/digits")
    assert "\n" not in str(told.value)
    assert hub.repositories == {}


def test_a_hub_that_does_not_answer(
    hub: Hub, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(UserError, match="does not answer"):
        classifier.push_to_hub("owner/digits")
    with pytest.raises(UserError, match=r"owner/never.*does not answer"):
        load("hf-hub:owner/never")


def test_a_program_is_not_put_where_others_would_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "is_reachable", lambda address: pytest.fail("the hub is asked"))
    program: Any = SimpleNamespace(model=SimpleNamespace(extractor=object.__new__(BlackBox)))
    with pytest.raises(UserError, match="came as a program is not put on the hub, from where"):
        pushing.push(program, "a card", "me/mine")
