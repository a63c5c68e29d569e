"""The interpreter g: single-head self-attention over patch tokens, then a linear head.

Its logits are a sum over patches, so each patch's share of each class is known exactly and
costs nothing: see `Interpreter.contributions`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iavit.errors import UserError
from iavit.model.attention import attention_received

InterpreterHead = Literal["mean", "positional"]


class Interpreter(nn.Module):
    """Imitates the predictor from the patch tokens, with one attention map.

    `A = softmax(Q K^T / sqrt(D))`, (B, N, N), over the patch tokens; context `A V`, (B, N, D).

    - head `mean`: `g = W mean_q(A V)[q] + b`. As the mean over queries of `A` is the attention
      `a` that each patch receives, `g = W (sum_k a_k v_k) + b`: the map that explains is exactly
      the weight that each patch has.
    - head `positional` (the authors'): a scalar per token, `s = w . (A V) + c`, (B, N), then
      `g = U s + b` over positions. It fixes the number of patches.

    channels: D. num_patches: N. num_classes: C.

    Raises `UserError` for another head.

    Source: arXiv 2309.08035, section 3; the authors' notebooks leave out `1/sqrt(D)`.
    """

    def __init__(
        self,
        channels: int,
        num_patches: int,
        num_classes: int,
        head: InterpreterHead = "mean",
    ) -> None:
        super().__init__()
        if head not in get_args(InterpreterHead):
            raise UserError(f"`interpreter_head` is '{head}'; it must be mean or positional")
        self.scale = channels**-0.5
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        if head == "mean":
            self.token_score = None
            self.head = nn.Linear(channels, num_classes)
        else:
            self.token_score = nn.Linear(channels, 1)
            self.head = nn.Linear(num_patches, num_classes)

    def attention(self, tokens: Tensor) -> Tensor:
        """(B, N, D) patch tokens to the attention map `A`, (B, N, N); rows sum to 1."""
        return self._read(tokens)[0]

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, D) patch tokens to logits (B, C) and attention received (B, N).

        Without keeping `A` for the backward pass: memory grows with N, not with its square.
        """
        queries, keys = self.query(tokens)[:, None], self.key(tokens)[:, None]  # one head
        received = attention_received(queries, keys, prefix=0, scale=self.scale, gradient=True)
        if self.token_score is None:
            # The attention sums to 1, so the mean of values is the value of the mean token.
            mean = torch.einsum("bk,bkd->bd", received.to(tokens.dtype), tokens)
            return self.head(self.value(mean)), received
        values = self.value(tokens)[:, None]
        context = F.scaled_dot_product_attention(queries, keys, values, scale=self.scale)[:, 0]
        return self.head(self.token_score(context).squeeze(-1)), received

    def contributions(self, tokens: Tensor) -> Tensor:
        """What each patch adds to each class: (B, N, D) tokens to (B, N, C), signed.

        Complete: `contributions.sum(dim=1) + bias` are the interpreter's logits.
        - `mean`: `a_k (W_c . v_k)`.
        - `positional`: `(sum_q U[c, q] A[q, k]) (w . v_k)`.
        """
        attention, values = self._read(tokens)
        if self.token_score is None:
            received = attention.mean(dim=1)
            return received[..., None] * (values @ self.head.weight.T)
        per_value = values @ self.token_score.weight[0]  # (B, N)
        weights = torch.einsum("cq,bqk->bkc", self.head.weight, attention)
        return weights * per_value[..., None]

    def contributions_to(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """What each patch adds to one class (B,) of each image, (B, N): of `contributions`."""
        attention, values = self._read(tokens)
        weight = self.head.weight[targets]
        if self.token_score is None:
            return attention.mean(dim=1) * torch.einsum("bkd,bd->bk", values, weight)
        per_value = values @ self.token_score.weight[0]
        return torch.einsum("bq,bqk->bk", weight, attention) * per_value

    @property
    def bias(self) -> Tensor:
        """(C,), the part of the logits that belongs to no patch."""
        if self.token_score is None:
            return self.head.bias
        return self.head.bias + self.head.weight.sum(dim=1) * self.token_score.bias

    def _read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, D) patch tokens to the map `A`, (B, N, N), and the values `v`, (B, N, D)."""
        scores = (self.query(tokens) * self.scale) @ self.key(tokens).transpose(-2, -1)
        return scores.softmax(dim=-1), self.value(tokens)
