"""What holds of every explainer, on every kind of transformer."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.explain import EXPLAINERS, Explainer
from iavit.explain import recording as module
from iavit.explain.gradient import integrated_gradients, smoothgrad
from iavit.explain.perturbation import kernel_shap, rise
from iavit.model.explainable import extractor_of
from iavit.types import Explanation
from tests.explain.models import (
    CLASSES,
    GRID,
    HEIGHT,
    TARGETS,
    WIDTH,
    images,
    joined,
    of_family,
    plain,
)

IN_PIXELS = {"saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "rise"}
SIGNED = {
    "contributions",
    "input_x_gradient",
    "integrated_gradients",
    "attgrads",
    "attcam",
    "occlusion",
    "kernel_shap",
}
NEED_INTERPRETER = {"interpreter", "contributions"}
FEW: dict[str, Explainer] = {  # the same with fewer samples
    **EXPLAINERS,
    "rise": partial(rise, masks=9),
    "smoothgrad": partial(smoothgrad, samples=3),
    "integrated_gradients": partial(integrated_gradients, steps=3),
    "kernel_shap": partial(kernel_shap, samples=10),
}
ON_TIMM = [name for name in EXPLAINERS if name not in NEED_INTERPRETER]
FAMILIES = [
    "deit_small_distilled_patch16_224",
    "vit_medium_patch16_reg4_gap_256",
    "vit_base_patch16_siglip_224",
    "beit_base_patch16_224",
    "vit_small_patch16_18x2_224",
    "vit_base_patch16_xp_224",
    "eva02_small_patch14_224",
    "vit_base_patch16_rpn_224",
]
every = pytest.mark.parametrize("name", EXPLAINERS)


def test_names_are_those_of_the_design() -> None:
    assert list(EXPLAINERS) == [
        "contributions",
        "interpreter",
        "raw_attention",
        "rollout",
        "attention_received",
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "smoothgrad",
        "grad_cam",
        "attgrads",
        "attcam",
        "generic_attention",
        "transformer_attribution",
        "partial_lrp",
        "rise",
        "occlusion",
        "kernel_shap",
        "random",
    ]


@every
def test_says_what_it_explains_and_how(name: str) -> None:
    explanation = FEW[name](joined(), images(), TARGETS)
    assert explanation.maps.shape == (3, *((HEIGHT, WIDTH) if name in IN_PIXELS else GRID))
    assert explanation.maps.dtype == torch.float64
    assert not explanation.maps.requires_grad
    assert torch.equal(explanation.targets, TARGETS)
    assert explanation.method == name
    assert explanation.signed is (name in SIGNED)
    assert explanation.signed or (explanation.maps >= 0).all()


@every
def test_a_batch_is_its_images_one_by_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = joined()
    torch.manual_seed(5)
    together = FEW[name](model, images(), TARGETS).maps
    torch.manual_seed(5)
    alone = [FEW[name](model, images()[i : i + 1], TARGETS[i : i + 1]).maps for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), together)
    monkeypatch.setattr(module, "TOKENS", 20)  # two images of nine tokens at a time
    torch.manual_seed(5)
    torch.testing.assert_close(FEW[name](model, images(), TARGETS).maps, together)


@every
def test_leaves_the_model_and_torch_as_they_were(name: str) -> None:
    model = joined()
    model.extractor.backbone.blocks[1].train()
    first = next(model.parameters()).requires_grad_()
    flags = [(part.training, len(part._forward_hooks)) for part in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    backends = _backends()
    FEW[name](model, images(), TARGETS)
    assert [(part.training, len(part._forward_hooks)) for part in model.modules()] == flags
    assert not any(len(part._backward_hooks) for part in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert first.grad is None
    assert _backends() == backends
    assert torch.is_grad_enabled()


def _backends() -> tuple[bool, ...]:
    cuda = torch.backends.cuda
    return cuda.flash_sdp_enabled(), cuda.math_sdp_enabled(), cuda.mem_efficient_sdp_enabled()


@every
def test_is_the_same_whatever_the_caller_switched_off(name: str) -> None:
    model = joined().train()  # evaluated all the same
    maps = []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        torch.manual_seed(5)
        with mode():
            maps.append(FEW[name](model, images(), TARGETS).maps)
    torch.testing.assert_close(maps[0], maps[1])
    torch.testing.assert_close(maps[0], maps[2].clone())
    assert model.training


@every
def test_is_the_same_in_single_precision_whatever_the_caller_switched_off(name: str) -> None:
    model, pictures = joined().float(), images().float()
    maps = []
    for mode in (torch.enable_grad, torch.inference_mode):
        torch.manual_seed(5)
        with mode():
            maps.append(FEW[name](model, pictures, TARGETS).maps)
    torch.testing.assert_close(maps[0], maps[1].clone())


@every
@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8], ids=str)
def test_is_the_same_for_targets_of_every_whole_type(name: str, kind: torch.dtype) -> None:
    model = joined()
    torch.manual_seed(5)
    expected = FEW[name](model, images(), TARGETS)
    torch.manual_seed(5)
    found = FEW[name](model, images(), TARGETS.to(kind))
    assert torch.equal(found.maps, expected.maps)
    assert found.targets.dtype == torch.int64
    assert torch.equal(found.targets, TARGETS)


@every
def test_is_the_same_for_images_made_under_inference_mode(name: str) -> None:
    model = joined().requires_grad_()  # the pass that explains is recorded
    torch.manual_seed(5)
    expected = FEW[name](model, images(), TARGETS).maps
    with torch.inference_mode():
        pictures, targets = images() + 0, TARGETS + 0
    assert pictures.is_inference()
    torch.manual_seed(5)
    found = FEW[name](model, pictures, targets)
    assert torch.equal(found.maps, expected)


@pytest.mark.parametrize("name", ON_TIMM)
def test_explains_a_plain_timm_transformer_like_one_with_an_interpreter(name: str) -> None:
    model = joined()
    torch.manual_seed(5)
    with_one = FEW[name](model, images(), TARGETS).maps
    torch.manual_seed(5)
    torch.testing.assert_close(
        FEW[name](model.extractor.backbone, images(), TARGETS).maps, with_one
    )


@pytest.mark.parametrize("name", sorted(NEED_INTERPRETER))
def test_without_an_interpreter_says_that_one_is_needed(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name} needs a model with an interpreter"):
        EXPLAINERS[name](plain(), images(), TARGETS)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_explained(family: str) -> None:
    model, pictures = of_family(family), images(size=(48, 32))
    for name in ON_TIMM:
        maps = FEW[name](model, pictures, TARGETS).maps
        assert maps.shape == (3, *((48, 32) if name in IN_PIXELS else GRID)), name
        assert maps.isfinite().all(), name
        assert maps.flatten(1).std(dim=1).any(), name  # says something


@every
@pytest.mark.parametrize(
    ("pictures", "targets", "told"),
    [
        (images(), torch.tensor([4, 0, 5]), r"targets from 0 to 5: .* numbers 0 to 4"),
        (images(), torch.tensor([-1, 0, 2]), r"targets from -1 to 2"),
        (images(), TARGETS[:2], r"targets of shape \(2,\).* for 3 images"),
        (images(), TARGETS.double(), "type torch.float64"),
        (images().to("meta"), TARGETS, "model is on cpu, images on meta"),
        (images(), TARGETS.to("meta"), "targets on meta"),
        (images(size=(8, 12)), TARGETS, "images of 8 x 12 pixels; this model reads 12 x 8"),
        (images()[0], TARGETS, r"images of shape \(3, 12, 8\)"),
    ],
)
def test_bad_questions_are_told_in_a_line(
    name: str, pictures: Tensor, targets: Tensor, told: str
) -> None:
    with pytest.raises(UserError, match=told) as error:
        EXPLAINERS[name](MODEL, pictures, targets)
    assert "\n" not in str(error.value)


MODEL = joined()


def test_what_is_no_transformer_is_told_in_a_line() -> None:
    with pytest.raises(UserError, match="a Linear cannot be explained; use an IAViT or a timm"):
        EXPLAINERS["saliency"](nn.Linear(2, 3), images(), TARGETS)


def test_one_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `docs/explainers.md` shows."""

    def brightness(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        maps = nn.functional.adaptive_avg_pool2d(images.mean(dim=1), extractor_of(model).grid)
        return Explanation(maps, targets, "brightness", signed=True)

    monkeypatch.setitem(EXPLAINERS, "brightness", brightness)
    maps = EXPLAINERS["brightness"](plain(), images(), TARGETS).maps
    torch.testing.assert_close(maps[1, 2, 0], images()[1, :, 8:12, 0:4].mean())


# Those that cost one forward pass.
FROM_THE_MODEL = ["interpreter", "contributions", "raw_attention", "rollout", "attention_received"]


NAMES = [*FROM_THE_MODEL, "random"]


@pytest.mark.parametrize("name", FROM_THE_MODEL)
def test_only_contributions_depend_on_the_target(name: str) -> None:
    explain = EXPLAINERS[name]
    here = explain(joined(), images(), TARGETS).maps
    there = explain(joined(), images(), (TARGETS + 1) % CLASSES).maps
    assert torch.equal(here, there) is (name != "contributions")


@pytest.mark.parametrize("name", FROM_THE_MODEL)
def test_depends_on_the_image(name: str) -> None:
    maps = EXPLAINERS[name](joined(), images(), TARGETS).maps
    others = EXPLAINERS[name](joined(), images(seed=2), TARGETS).maps
    assert not torch.allclose(maps, others, rtol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_repeats_itself_from_the_same_seed(name: str) -> None:
    maps = []
    for _ in range(2):
        torch.manual_seed(5)
        maps.append(EXPLAINERS[name](joined(), images(), TARGETS).maps)
    assert torch.equal(*maps)
