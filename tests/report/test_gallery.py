"""Which images are shown, and what is said of them."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from iavit.evaluate.trust import trust
from iavit.explain import EXPLAINERS
from iavit.model.explainable import extractor_of
from iavit.report import gallery as module
from iavit.report.gallery import gallery, legend
from iavit.report.maps import painted
from iavit.types import Explanation
from tests.report import CLASSES, COUNT, tiny_images, tiny_model

ALL = torch.arange(COUNT)


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_says_what_both_branches_say() -> None:
    saved, images = tiny_model(), tiny_images()
    right, wrong = gallery(saved, images, {}, seed=0, among=ALL)
    for case in right + wrong:
        with torch.no_grad():
            output = saved.model(images[[case.number]].images)
        f, g = output.logits[0].softmax(dim=-1), output.interpreter_logits[0].softmax(dim=-1)
        assert case.confidence == pytest.approx(float(f.max()), abs=1e-4)
        assert case.interpreter_confidence == pytest.approx(float(g.max()), abs=1e-4)
        told = trust(saved.model, images[[case.number]].images).trust
        assert case.trust == pytest.approx(float(told), abs=1e-4)
        assert case.agree == bool(f.argmax() == g.argmax())
        assert case.truth == CLASSES[int(images.labels[case.number])]
    assert {case.agree for case in right + wrong} == {True, False}


def test_explains_the_predicted_class_in_evaluation_mode() -> None:
    saved = tiny_model()
    saved.model.train()
    seen: list[bool] = []

    def explainer(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        seen.append(model.training or torch.is_grad_enabled())
        assert torch.equal(targets, extractor_of(model).logits(images).argmax(dim=-1))
        return EXPLAINERS["interpreter"](model, images, targets)

    right, wrong = gallery(saved, tiny_images(), {"mine": explainer}, seed=0, among=ALL)
    assert seen == [False, False]
    captions = {tuple(tile.caption for tile in case.tiles) for case in right + wrong}
    assert captions == {("image", "mine")}


def test_explains_the_true_class_where_that_was_evaluated() -> None:
    saved, images = tiny_model(), tiny_images()
    seen: list[Tensor] = []

    def explainer(model: nn.Module, batch: Tensor, targets: Tensor) -> Explanation:
        seen.append(targets)
        return EXPLAINERS["interpreter"](model, batch, targets)

    cases = gallery(saved, images, {"mine": explainer}, seed=0, among=ALL, true_class=True)
    truth = [[CLASSES.index(case.truth) for case in kind] for kind in cases]
    assert [targets.tolist() for targets in seen] == truth


def test_the_picture_is_the_image() -> None:
    images = tiny_images()
    right, wrong = gallery(tiny_model(), images, {}, seed=0, among=ALL)
    for case in right + wrong:
        expected = images.pixels[case.number].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(np.asarray(opened(case.tiles[0].uri)), expected)


def test_large_pictures_are_photographs() -> None:
    size = 64
    right, wrong = gallery(
        tiny_model(size),
        tiny_images(size=size, evidence=False),
        {name: EXPLAINERS[name] for name in ("contributions", "saliency", "random")},
        seed=0,
        among=ALL,
    )
    case = (right + wrong)[0]
    assert {opened(tile.uri).format for tile in case.tiles} == {"JPEG"}
    assert {opened(tile.uri).size for tile in case.tiles} == {(module.LARGE, module.LARGE)}
    assert case.evidence == ""


def test_chance_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = gallery(
        tiny_model(), tiny_images(), {"random": EXPLAINERS["random"]}, seed=5, among=ALL
    )
    assert torch.equal(torch.rand(1), expected)
    assert (
        gallery(tiny_model(), tiny_images(), {"random": EXPLAINERS["random"]}, seed=5, among=ALL)
        == first
    )


@pytest.mark.parametrize("signed", [True, False])
def test_the_legend_runs_from_the_least_to_the_most(signed: bool) -> None:
    strip = np.asarray(opened(legend(signed))).astype(int)
    assert strip.shape == (12, 160, 3)
    assert (strip == strip[:1]).all()
    for at, value in ((0, -1.0 if signed else 0.0), (159, 1.0)):
        expected = painted(np.full((1, 1), 0.5), np.array([value]), signed)[0] * 255
        np.testing.assert_allclose(strip[0, at], expected, atol=1)


def test_a_large_picture_is_kept_as_a_photograph_of_85_per_cent() -> None:
    picture = Image.effect_noise((80, 70), 60).convert("RGB")
    for kind, options in (("JPEG", {"quality": 85}), ("PNG", {"optimize": True})):
        file = io.BytesIO()
        picture.save(file, kind, **options)
        uri = module._uri(picture, kind)
        assert uri.startswith(f"data:image/{kind.lower()};base64,")
        assert base64.b64decode(uri.partition("base64,")[2]) == file.getvalue()
