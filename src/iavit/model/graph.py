"""All that a model says of images, in one forward pass."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from iavit.data.transforms import Normalisation
from iavit.model.iavit import IAViT


class GraphOutput(NamedTuple):
    """What one pass says of B images.

    probabilities, interpreter_probabilities: (B, C), of both branches.
    attention: (B, N), the interpreter's; sums to 1.
    contributions: (B, N, C), what each patch adds to each of the interpreter's logits.
    """

    probabilities: Tensor
    interpreter_probabilities: Tensor
    attention: Tensor
    contributions: Tensor


OUTPUTS = GraphOutput._fields


class Graph(nn.Module):
    """A model as it is asked and exported: images in, `GraphOutput` out.

    normalisation: where pixels are given, how they are normalised.
    """

    def __init__(self, model: IAViT, normalisation: Normalisation | None = None) -> None:
        super().__init__()
        self.model = model
        self.normalisation = normalisation

    def forward(self, images: Tensor) -> GraphOutput:
        """(B, 3, H, W) normalised float32, or (B, H, W, 3) uint8 pixels, to `GraphOutput`."""
        if self.normalisation is not None:
            images = self.normalisation.normalise(images.permute(0, 3, 1, 2))
        interpreter = self.model.interpreter
        output = self.model(images, attention="none")
        patches = output.interpreter_tokens
        contributions = interpreter.contributions(patches)
        logits = contributions.sum(dim=1) + interpreter.bias
        return GraphOutput(
            output.logits.softmax(dim=1),
            logits.softmax(dim=1),
            interpreter.attention(patches).mean(dim=1),
            contributions,
        )
