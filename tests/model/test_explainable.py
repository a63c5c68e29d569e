"""Which models can be explained, and what is asked of one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.explain import EXPLAINERS
from iavit.model.explainable import evaluating, explaining, extractor_of, interpreted, unwrap
from iavit.model.iavit import IAViT

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.compile
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TARGETS = torch.tensor([0, 2])


def model() -> IAViT:
    return IAViT.create("vit_digits", 3, 8).eval()


def compiled(inner: nn.Module) -> nn.Module:
    wrapped = torch.compile(inner)
    assert isinstance(wrapped, nn.Module)
    return wrapped


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "two": lambda inner: nn.DataParallel(compiled(inner)),
}


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("explainer", ["contributions", "generic_attention", "saliency"])
def test_a_wrapped_model_has_the_maps_of_the_model_in_it(name: str, explainer: str) -> None:
    inner = model()
    wrapped = WRAPPERS[name](inner)
    expected = EXPLAINERS[explainer](inner, IMAGES, TARGETS).maps
    assert expected.std() > 0
    assert torch.equal(EXPLAINERS[explainer](wrapped, IMAGES, TARGETS).maps, expected)


def test_a_compiled_timm_model_is_looked_through() -> None:
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=12, num_heads=3, depth=1, num_classes=3
    )
    assert extractor_of(compiled(vit)).backbone is vit


class Normalised(nn.Module):
    """Changes its input before it hands it on, so that it is not what is in it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        predicted: Tensor = self.module((images - 0.5) / 0.5)
        return predicted


def test_a_wrapper_of_ones_own_is_not_looked_through() -> None:
    wrapped = Normalised(model())
    assert unwrap(wrapped) is wrapped
    with pytest.raises(UserError, match="a Normalised cannot be explained"):
        extractor_of(wrapped)


def test_a_model_without_an_interpreter_is_refused_by_the_explainers_name() -> None:
    with pytest.raises(UserError, match="contributions needs a model with an interpreter"):
        interpreted(nn.DataParallel(nn.Linear(1, 1)), "contributions")


def test_parts_that_train_do_so_again_also_after_an_error() -> None:
    parts = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval(), nn.Linear(2, 2))

    def fail() -> None:
        with evaluating(parts):
            assert not any(part.training for part in parts.modules())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [part.training for part in parts.modules()] == [True, True, False, True]


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (IMAGES[0], TARGETS, r"images of shape \(3, 8, 8\)"),
        (IMAGES.byte(), TARGETS, "images of type torch.uint8: normalise"),
        (IMAGES[..., :4], TARGETS, "this model reads 8 x 8"),
        (IMAGES, TARGETS[:1], r"targets of shape \(1,\)"),
        (IMAGES, TARGETS.double(), "type torch.float64"),
        (
            IMAGES,
            TARGETS + 1,
            "targets from 1 to 3: this model's 3 classes have the numbers 0 to 2",
        ),
        (IMAGES, TARGETS.to("meta"), "targets on meta"),
        (IMAGES, -TARGETS, "targets from -2 to 0"),
        (IMAGES.to("meta"), TARGETS, "images on meta"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    images: Tensor, targets: Tensor, message: str
) -> None:
    asked = model()
    with pytest.raises(UserError, match=message) as refusal, explaining(asked, images, targets):
        pass
    assert "\n" not in str(refusal.value)


def test_a_single_logit_is_refused_with_what_to_do() -> None:
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=1
    )
    images, targets = torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.long)
    with (
        pytest.raises(UserError, match=r"single logit.* two for yes and no"),
        explaining(model, images, targets),
    ):
        pass
