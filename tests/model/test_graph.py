"""A model as a graph: what one pass says is what the model says."""

from __future__ import annotations

import torch
from torch import Tensor

from iavit.data.transforms import Normalisation
from iavit.model.graph import OUTPUTS, Graph
from iavit.model.iavit import IAViT


def pixels(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 16, 16, 3), generator=generator, dtype=torch.uint8)


def model() -> IAViT:
    torch.manual_seed(0)
    made = IAViT.create("vit_digits", 7, 16)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def test_its_outputs_are_the_models() -> None:
    own, normalisation = model(), Normalisation((0.2, 0.4, 0.6), (0.5, 0.25, 0.125))
    images = normalisation.normalise(pixels().permute(0, 3, 1, 2))
    with torch.no_grad():
        found = Graph(own)(images)
        output, contributions = own(images), own.contributions(images)
        of_pixels = Graph(own, normalisation)(pixels())
    assert found._fields == OUTPUTS
    torch.testing.assert_close(found.probabilities, output.logits.softmax(dim=-1))
    torch.testing.assert_close(
        found.interpreter_probabilities, output.interpreter_logits.softmax(dim=-1)
    )
    torch.testing.assert_close(found.attention, output.interpreter_attention)
    torch.testing.assert_close(found.contributions, contributions, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tuple(of_pixels), tuple(found))
    assert not torch.allclose(found.probabilities, found.interpreter_probabilities, atol=0.01)


def test_it_needs_no_attention_of_the_extractor() -> None:
    own = model()
    asked: list[str] = []
    own.register_forward_pre_hook(
        lambda _module, _given, named: asked.append(named["attention"]), with_kwargs=True
    )
    Graph(own)(torch.randn(2, 3, 16, 16))
    assert asked == ["none"]
