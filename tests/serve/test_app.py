"""The service as a client sees it: its options, its drawings, its refusals."""

from __future__ import annotations

import io
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from iavit.errors import UserError
from iavit.handover.classifier import Classifier
from iavit.handover.export import weights_sha256
from iavit.serve.app import FIELDS, _patch_numbers
from tests.docs_pages import command_lines
from tests.serve.asking import explain, jpeg, post


def test_an_upright_photograph_is_explained_as_its_owner_saw_it(
    client: TestClient, photo: Path, tmp_path: Path
) -> None:
    with Image.open(photo) as opened:
        upright = opened.copy()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    turned = tmp_path / "turned.png"
    upright.rotate(90, expand=True).save(turned, exif=exif)
    first, second = explain(client, photo, turned)
    assert second["map"] == first["map"]


def test_a_drawing_shows_what_the_library_draws(
    client: TestClient, classifier: Classifier, photo: Path
) -> None:
    files = [("files", ("photo.png", photo.read_bytes()))]
    response = client.post("/v1/explain", files=files, data={"format": "png"})
    assert response.headers["content-type"] == "image/png"
    with (
        Image.open(io.BytesIO(response.content)) as drawn,
        Image.open(io.BytesIO(classifier.explain(photo)._repr_png_())) as own,
    ):
        np.testing.assert_array_equal(np.array(drawn), np.array(own))


def test_what_an_answer_is_and_that_nobody_keeps_it(client: TestClient, photo: Path) -> None:
    files = [("files", ("photo.png", photo.read_bytes()))]
    answered = client.post("/v1/explain", files=files)
    assert answered.headers["content-type"] == "application/json"
    assert answered.headers["cache-control"] == "no-store"
    drawn = client.post("/v1/explain", files=files, data={"format": "png"})
    assert drawn.headers["cache-control"] == "no-store"
    figures = client.get("/metrics")
    assert figures.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "12"}, "target is 12; the 10 classes have the numbers 0 to 9"),
        ({"target": "seven"}, "target is 'seven', and there is no such class"),
        ({"explainer": "rise"}, "explainer: there is no 'rise' here; name one of"),
        ({"remove": "64"}, "remove: the patches have the numbers 0 to 63"),
        ({"remove": "a"}, "remove: give numbers of patches, such as 0,5,6"),
        ({"format": "gif"}, "format: Input should be 'json' or 'png'"),
        ({"tagret": "3"}, "tagret: there is no such field; the form may have files, target, "),
        ({"format": "png", "remove": "3"}, "remove: a drawing shows the whole picture; ask for"),
    ],
)
def test_an_option_that_is_not_there(
    client: TestClient, photo: Path, options: dict[str, str], words: str
) -> None:
    files = [("files", ("photo.png", photo.read_bytes()))]
    response = client.post("/v1/explain", files=files, data=options)
    assert response.status_code == 422
    assert response.json()["detail"].startswith(words)


@pytest.mark.parametrize("words", ["3,5", " 3 ,5, ,", "5,3,3"])
def test_patches_to_remove_may_be_written_with_spaces_and_twice(
    client: TestClient, photo: Path, words: str
) -> None:
    ((whole,), (plain,), (found,)) = (
        explain(client, photo, remove=remove) for remove in ("", "3,5", words)
    )
    assert found["probabilities"] == plain["probabilities"] != whole["probabilities"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/model.json", "application/json"),
    ],
)
def test_every_file_of_the_page_has_its_type_and_a_policy(
    client: TestClient, path: str, kind: str
) -> None:
    found = client.get(path)
    assert (found.status_code, found.headers["content-type"]) == (200, kind)
    policy = found.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)


def test_too_many_files(narrow: TestClient) -> None:
    small = jpeg(9, 9)
    assert post(narrow, small, small, small) == (413, "3 pictures; send at most 2")


def test_no_form_and_no_files(narrow: TestClient) -> None:
    response = narrow.post("/v1/explain", json={"image": "photo.jpg"})
    assert (response.status_code, response.json()["detail"]) == (
        415,
        "send pictures as multipart/form-data, in the field 'files'",
    )
    assert narrow.post("/v1/explain", files=[("picture", b"x")]).status_code == 422


def test_the_request_that_the_docs_show(client: TestClient, photo: Path) -> None:
    (words,) = (words for words in command_lines("docs/serving.md") if words[0] == "curl")
    assert words[1::2] == ["-F", "-F", words[-1]]
    fields = dict(word.split("=") for word in words[2:-1:2])
    files = [("files", ("photo.jpg", photo.read_bytes()))]
    assert fields.pop("files") == "@photo.jpg"
    response = client.post(urlsplit(words[-1]).path, files=files, data=fields)
    (result,) = response.json()["results"]
    assert 0 <= result["trust"]["faithfulness"] <= 1


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("", ()), ("0", (0,)), ("14,3", (14, 3)), (" 5 ,,", (5,)), ("15", None), ("3,15", None),
        ("-1,5", None), ("a", None),
    ],
)  # fmt: skip
def test_patches_of_three_rows_of_five(words: str, numbers: tuple[int, ...] | None) -> None:
    if numbers is not None:
        assert _patch_numbers(words, (3, 5)) == numbers
        return
    with pytest.raises(UserError, match=r"remove: (the patches have the numbers 0 to 14|give num)"):
        _patch_numbers(words, (3, 5))


def test_the_openapi_page_says_all_that_may_be_asked(
    client: TestClient, classifier: Classifier
) -> None:
    page = client.get("/openapi.json").json()
    assert page["info"]["title"] == "iavit"
    assert page["info"]["description"] == "Pictures explained by vit_digits"
    assert page["info"]["version"] == version("iavit")
    assert page["paths"].keys() == {"/v1/explain", "/health", "/metrics"}
    asked = page["paths"]["/v1/explain"]["post"]
    assert asked["responses"].keys() == {
        "200", "400", "401", "408", "413", "415", "422", "503", "504"
    }  # fmt: skip
    for status, answered in asked["responses"].items():
        (content,) = answered["content"].values()
        kind = "Results" if status == "200" else "Refusal"
        assert content["schema"]["$ref"].endswith(f"/{kind}"), status
        assert answered["description"]
    (form,) = (kind for name, kind in page["components"]["schemas"].items() if "Body" in name)
    fields = form["properties"]
    assert fields.keys() == {
        "files", "target", "explainer", "format", "trust", "contributions", "remove"
    }  # fmt: skip
    assert tuple(fields) == FIELDS
    assert all(field["description"] for field in fields.values())
    assert {name: field.get("default") for name, field in fields.items()} == {
        "files": None, "target": None, "explainer": "contributions", "format": "json",
        "trust": False, "contributions": False, "remove": "",
    }  # fmt: skip
    answered = page["paths"]["/health"]["get"]["responses"]["200"]["content"]
    assert answered["application/json"]["schema"] == {"$ref": "#/components/schemas/Health"}
    assert client.get("/redoc").status_code == 404
    assert client.get("/health").json() == {
        "status": "ok",
        "backbone": "vit_digits",
        "classes": 10,
        "version": version("iavit"),
        "sha256": weights_sha256(classifier.model),
    }


def test_one_picture_is_drawn_at_a_time(client: TestClient) -> None:
    files = [("files", (f"{number}.jpg", jpeg(9, 9))) for number in range(2)]
    refused = client.post("/v1/explain", files=files, data={"format": "png"})
    assert (refused.status_code, refused.json()["detail"]) == (
        413,
        "2 pictures; send at most one, for a drawing",
    )


def test_all_that_a_form_lacks_is_said_in_a_line(client: TestClient) -> None:
    refused = client.post("/v1/explain", files=[("other", b"x")], data={"format": "gif"})
    detail = refused.json()["detail"]
    assert detail == "files: Field required; format: Input should be 'json' or 'png'"


def test_a_field_in_the_address_is_not_passed_over(client: TestClient, photo: Path) -> None:
    files = [("files", ("photo.png", photo.read_bytes()))]
    refused = client.post("/v1/explain?target=3", files=files)
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "target stands in the address; send it as a field of the form",
    )
    assert client.post("/v1/explain?from=a+proxy", files=files).status_code == 200


def test_a_picture_that_is_sent_as_text_is_told_how_to_send_it(client: TestClient) -> None:
    refused = client.post("/v1/explain", files=[("files", (None, b"photo.jpg"))] * 2)
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "files: send each picture as a file, with curl as -F files=@photo.jpg",
    )


def test_a_form_that_cannot_be_read(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data"}
    refused = client.post("/v1/explain", content=b"x", headers=headers)
    assert (refused.status_code, refused.json()) == (
        400,
        {"detail": "Missing boundary in multipart."},
    )
