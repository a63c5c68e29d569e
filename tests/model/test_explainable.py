"""Which models can be explained, and what is asked of one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.explain import EXPLAINERS
from iavit.model.explainable import extractor_of, interpreted, unwrap
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
