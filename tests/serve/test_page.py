"""The page in a real browser, with its network cut, at the size of a phone and of a desk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from iavit.errors import UserError
from iavit.evaluate.trust import FRACTIONS
from iavit.handover.classifier import Classifier
from iavit.handover.explained import ExplainedImage
from iavit.handover.fit import fitted
from iavit.handover.onnxruntime_web import onnxruntime_web
from iavit.handover.web import export_page
from iavit.serve.app import create_app
from tests.serve.browser import Page, chromium, static_server

pytestmark = pytest.mark.slow
PHONE, DESK = 390, 1280


def trust_words(own: ExplainedImage) -> str:
    """What the page says of the library's figures."""
    start = (
        "No trust in this explanation: the branches disagree. They share "
        if own.trust is None
        else f"Trust in this explanation {own.trust:.2f} of 1: the branches share "
    )
    return (
        f"{start}{own.answer:.2f} of their answer, and what the contributions rank first decides "
        f"it with {own.faithfulness:.2f}."
    )


@pytest.fixture(scope="module")
def folder(classifier: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        onnxruntime_web()
    except UserError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("page") / "web"
    export_page(classifier.saved, folder)
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with static_server(folder) as address:
        yield address


@pytest.fixture
def page(browser: Page, address: str) -> Page:
    """The page, ready, in a desk's window."""
    browser.open(address, DESK)
    browser.complaints.clear()
    return browser


def _drop(page: Page, path: Path) -> float:
    """Drop a picture; the seconds until its explanation stands there."""
    page.evaluate("document.getElementById('verdict').textContent = ''")
    page.drop(path)
    seconds = page.wait("document.getElementById('verdict').textContent")
    page.wait("document.getElementById('trust').hidden === false")
    return seconds


def _percentages(page: Page, branch: str) -> dict[str, float]:
    """The table's figures of one branch."""
    rows = page.evaluate(
        "[...document.querySelectorAll('#classes tbody tr')].map(row => [row.cells[0].innerText,"
        f" row.querySelector('.bar.{branch}').parentElement.innerText.trim()])"
    )
    return {name: float(text.split("\xa0")[0]) for name, text in rows}


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_picture_is_explained_as_the_library_does_with_the_network_cut(
    page: Page, classifier: Classifier, photo: Path, width: int
) -> None:
    page.resize(width, 900)
    page.cut_network()
    page.requests.clear()
    try:
        _drop(page, photo)
        own = classifier.explain(photo)
        best = 100 * own.probabilities.max()
        assert page.text("#verdict") == f"It says: {own.predicted} ({best:.1f}\xa0%)"
        for branch, values in (
            ("predictor", own.probabilities),
            ("interpreter", own.interpreter_probabilities),
        ):
            for name, shown in _percentages(page, branch).items():
                assert shown == pytest.approx(100 * values[int(name)], abs=0.051)
        assert page.text("#trust-words") == trust_words(own)
        balance = page.text("#balance").split("\n")
        total = own.contributions().sum() + classifier.model.interpreter.bias[own.target].item()
        assert float(balance[-1].replace("\u2212", "-")) == pytest.approx(total, abs=0.006)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.requests == []
        assert page.complaints == []
    finally:
        page.call(
            "Network.emulateNetworkConditions",
            offline=False,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )


def test_every_contribution_is_the_librarys(
    page: Page, classifier: Classifier, folder: Path, photo: Path
) -> None:
    shutil.copy(photo, folder / "photo.png")
    found = page.evaluate(
        "import('/asking.js').then(async ({ ask }) => {"
        "  const file = await (await fetch('/photo.png')).blob();"
        "  const { square } = await ask('decode', { file });"
        "  const answer = await ask('explain', { square });"
        "  return Object.fromEntries(Object.entries(answer).map(([k, v]) => [k, [...v]]));"
        "})"
    )
    own = classifier.explain(photo)
    np.testing.assert_allclose(found["contributions"], own.all_contributions.ravel(), atol=1e-5)
    np.testing.assert_allclose(found["attention"], own.attention.ravel(), atol=1e-5)
    np.testing.assert_allclose(found["probabilities"], own.probabilities, atol=1e-5)


@pytest.mark.parametrize("size", [(47, 31), (31, 47), (32, 32), (901, 613), (5, 3), (7, 200)])
def test_pictures_are_resized_as_pillow_does_to_the_bit(
    page: Page, classifier: Classifier, folder: Path, size: tuple[int, int]
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    picture.save(folder / "sized.png")
    found = page.evaluate(
        "import('/asking.js').then(async ({ ask }) => {"
        "  const file = await (await fetch('/sized.png', { cache: 'no-store' })).blob();"
        "  return [...(await ask('decode', { file })).square];"
        "})"
    )
    square = np.array(found, dtype=np.uint8).reshape(32, 32, 4)
    expected = np.array(fitted(picture, 32, classifier.saved.normalisation))
    # Pillow resamples the columns of a tall picture first, which rounds otherwise.
    most = 1 if size[1] > 2 * size[0] else 0
    assert np.abs(square[..., :3].astype(int) - expected).max() <= most


def test_a_photograph_of_twelve_megapixels_is_explained_within_five_seconds(
    page: Page, classifier: Classifier, tmp_path: Path
) -> None:
    """And upright, though its file holds it turned."""
    rng = np.random.default_rng(2)
    small = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "large.jpg"
    small.resize((4000, 3000), Image.Resampling.BICUBIC).save(path, quality=90, exif=exif)
    seconds = _drop(page, path)
    assert seconds < 5
    own = classifier.explain(path)
    for name, shown in _percentages(page, "predictor").items():
        assert shown == pytest.approx(100 * own.probabilities[int(name)], abs=0.3)  # JPEG decoders


def test_trust_is_measured_on_as_many_patches_as_in_python(page: Page) -> None:
    """Of an odd number of patches a half is rounded to the even one below or above."""
    shares = list(FRACTIONS)
    for units in (1, 9, 25, 49, 64, 81, 196, 1369):
        found = page.evaluate(
            f"import('/trust.js').then(({{ patchCounts }}) => patchCounts({shares}, {units}))"
        )
        assert found == [max(1, round(share * units)) for share in FRACTIONS]


def test_removing_patches_changes_the_answer_and_putting_them_back_restores_it(
    page: Page, classifier: Classifier, photo: Path
) -> None:
    _drop(page, photo)
    before = _percentages(page, "predictor")
    for number in (0, 9):
        place = page.evaluate(
            f"(({{x, y, width}}) => [x + width / 2, y + width / 2])(document.querySelector("
            f"'[data-patch=\"{number}\"]').getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            page.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )
    page.wait("document.getElementById('without').textContent.startsWith('Without these 2')")
    page.wait("document.querySelector('.bar.changed')")
    blanked = fitted(Image.open(photo).convert("RGB"), 32, classifier.saved.normalisation)
    for row, column in ((0, 0), (1, 1)):
        blanked.paste((69, 69, 69), (4 * column, 4 * row, 4 * column + 4, 4 * row + 4))
    expected = classifier.explain(blanked).probabilities
    for name, shown in _percentages(page, "predictor").items():
        assert shown == pytest.approx(100 * expected[int(name)], abs=0.1)  # 69 is not quite 0.27
    page.evaluate("document.getElementById('put-back').click()")
    page.wait("document.querySelector('.bar.changed') === null")
    assert page.text("#without") == ""
    assert _percentages(page, "predictor") == before


def test_patches_are_removed_by_keyboard_and_read_out(page: Page, photo: Path) -> None:
    _drop(page, photo)
    page.evaluate("document.querySelector('[data-patch=\"0\"]').focus()")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        page.press(key)
    page.press(" ", " ")
    page.wait("document.getElementById('without').textContent")
    focused = "document.activeElement.getAttribute"
    assert page.evaluate(f"{focused}('aria-label')").startswith("row 3, column 2, ")
    assert page.evaluate(f"{focused}('aria-pressed')") == "true"
    assert page.evaluate("document.querySelectorAll('#patches [tabindex=\"0\"]').length") == 1
    page.press(" ", " ")
    page.wait("document.getElementById('without').textContent === ''")


def test_a_contribution_that_is_written_as_zero_has_no_sign(page: Page) -> None:
    written = page.evaluate(
        "import('./patches.js').then(found => [0.25, -0.25, 0.004, -0.004, 0].map(found.signed))"
    )
    assert written == ["+0.25", "\N{MINUS SIGN}0.25", "0.00", "0.00", "0.00"]


def test_everything_that_can_be_used_has_a_name(page: Page, photo: Path) -> None:
    _drop(page, photo)
    names = page.names()
    used = [(role, name) for role, name in names if role in ("button", "radio", "combobox")]
    assert all(name for _, name in used)
    assert len([role for role, _ in used if role == "button"]) >= 64 + 3
    assert ("button", "Put all back") in names
    assert ("radio", "attention") in names
    assert ("combobox", "Class explained") in names
    assert ("image", f"The picture, explained for {page.text('#verdict').split()[2]}") in names
    assert any(
        role == "meter" and name.startswith(("Trust in", "No trust in")) for role, name in names
    )
    statuses = page.evaluate(
        "[...document.querySelectorAll('[role=status]')].map(e => e.innerText)"
    )
    assert statuses[0].startswith("It says: ")


def test_the_class_explained_can_be_chosen(page: Page, classifier: Classifier, photo: Path) -> None:
    _drop(page, photo)
    page.evaluate(
        "const target = document.getElementById('target'); target.value = '4';"
        "target.dispatchEvent(new Event('change', { bubbles: true }))"
    )
    contributions = classifier.explain(photo).contributions("4")
    best = np.unravel_index(contributions.argmax(), contributions.shape)
    assert page.text("#balance-heading") == "For and against 4"
    assert f"Most for it: row {best[0] + 1}, column {best[1] + 1}" in page.text("#strongest-words")
    assert page.text("#legend-high").startswith("for 4, +")


def test_branches_that_disagree_are_told_plainly(
    page: Page, classifier: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "disputed.png"
    rng = np.random.default_rng(3)
    for _ in range(200):
        picture = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((32, 32))
        own = classifier.explain(picture)
        if not own.agreement:
            break
    else:
        pytest.fail("the model's branches agree on all of 200 pictures")
    picture.save(path)
    _drop(page, path)
    second = classifier.classes[own.interpreter_probabilities.argmax()]
    assert page.text("#agreement").startswith(
        f"The two branches disagree: the predictor says {own.predicted}, the interpreter, which "
        f"explains, says {second}"
    )
    assert page.evaluate("document.getElementById('agreement').className") == "warning"


def test_the_camera(page: Page) -> None:
    page.evaluate("document.getElementById('camera').click()")
    page.wait("document.getElementById('video').videoWidth > 0")
    page.evaluate("document.getElementById('take').click()")
    page.wait("document.getElementById('verdict').textContent.startsWith('It says: ')")
    assert page.evaluate("document.getElementById('viewfinder').hidden")
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_a_file_that_is_no_picture(page: Page, photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "<b>notes.txt"
    path.write_text("nothing to see")
    page.drop(path)
    page.wait("!document.getElementById('problem').hidden")
    assert page.text("#problem").startswith("<b>notes.txt: no image that this browser can read")
    _drop(page, photo)
    assert page.evaluate("document.getElementById('problem').hidden")


def test_a_class_name_is_text_and_nothing_more(
    browser: Page, classifier: Classifier, folder: Path, photo: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "web"
    shutil.copytree(folder, copied)
    described = json.loads((copied / "model.json").read_text())
    described["classes"] = [f"<img src=x onerror=alert({n})>" for n in range(10)]
    (copied / "model.json").write_text(json.dumps(described))
    with static_server(copied) as address:
        browser.open(address)
        _drop(browser, photo)
        assert browser.text("#verdict").startswith("It says: <img src=x onerror=alert(")
        assert browser.evaluate("document.querySelector('img')") is None


def test_the_servers_page_asks_for_its_token_and_answers_the_same(
    browser: Page, classifier: Classifier, photo: Path, running: Callable[[FastAPI], str]
) -> None:
    browser.open(running(create_app(classifier.saved, token="open sesame")))
    assert browser.text("#privacy").startswith("The server that this page comes from answers")
    browser.drop(photo)
    browser.wait("!document.getElementById('access').hidden")
    browser.complaints.clear()
    browser.evaluate(
        "document.getElementById('token').value = 'open sesame';"
        "document.getElementById('access').requestSubmit()"
    )
    browser.wait("document.getElementById('trust').hidden === false")
    own = classifier.explain(photo)
    assert browser.text("#verdict") == (
        f"It says: {own.predicted} ({100 * own.probabilities.max():.1f}\xa0%)"
    )
    assert browser.text("#trust-words") == trust_words(own)
    browser.evaluate("document.getElementById('strongest').click()")
    browser.wait("document.querySelector('.bar.changed')")
    assert browser.complaints == []


def test_the_openapi_page_needs_no_other_server(
    browser: Page, classifier: Classifier, running: Callable[[FastAPI], str]
) -> None:
    address = running(create_app(classifier.saved))
    browser.requests.clear()
    browser.call("Page.navigate", url=f"{address}/docs")
    browser.wait("document.body?.innerText.includes('/v1/explain')")
    asked = [url for url in browser.requests if not url.startswith("data:")]
    assert asked
    assert all(url.startswith(address) for url in asked)
