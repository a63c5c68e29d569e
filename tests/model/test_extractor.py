"""Any plain timm vision transformer, walked as timm walks it, and where its attention goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.layers import Attention, SwiGLU
from timm.models.vision_transformer import (
    DiffAttention,
    DiffParallelScalingBlock,
    VisionTransformer,
)
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.backbones import create_backbone
from iavit.model.extractor import Extractor
from tests.reference.attention import mean_received

CLASSES = 5


# A grid of 3 x 2, so that height and width cannot change places.
IMAGE = (12, 8)


# What a plain vision transformer can be told: each must be walked as timm does.
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "registers": {"reg_tokens": 2},
    "registers_without_position": {"reg_tokens": 2, "no_embed_class": True},
    "no_position": {"pos_embed": "none"},
    "layer_scale": {"init_values": 0.3},
    "qk_norm": {"qk_norm": True},
    "attention_norm": {"scale_attn_norm": True},
    "mlp_norm": {"scale_mlp_norm": True},
    "pre_norm": {"pre_norm": True},
    "no_final_norm": {"final_norm": False},
    "no_bias": {"qkv_bias": False, "proj_bias": False},
    "gated_mlp": {"mlp_layer": SwiGLU},
    "any_size": {"dynamic_img_size": True},
}


# What is random in training.
DROPS = {
    "drop_path_rate": 0.5,
    "pos_drop_rate": 0.3,
    "proj_drop_rate": 0.3,
    "drop_rate": 0.3,
    "attn_drop_rate": 0.3,
}


# A plain architecture, one with a distillation token, two with a convolutional stem.
PUBLISHED = [
    ("vit_tiny_patch16_224", 32),
    ("deit_tiny_distilled_patch16_224", 32),
    ("vit_tiny_r_s16_p8_224", 64),
    ("vit_digits", 12),
]


def randomise(vit: VisionTransformer) -> VisionTransformer:
    """Weights large enough for attention far from uniform; timm's own hardly differ from 0."""
    generator = torch.Generator().manual_seed(0)
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return vit


def tiny(**options: Any) -> VisionTransformer:
    vit = VisionTransformer(
        **{
            "img_size": IMAGE,
            "patch_size": 4,
            "num_classes": CLASSES,
            "embed_dim": 12,
            "depth": 2,
            "num_heads": 3,
            **options,
        }
    )
    return randomise(vit).eval()


def tiny_with(attention: Attention) -> VisionTransformer:
    """Another attention in the first block."""
    vit = tiny()
    vit.blocks[0].attn = attention
    return randomise(vit).eval()


def tiny_with_block(block: nn.Module) -> VisionTransformer:
    """Another first block."""
    vit = tiny()
    vit.blocks[0] = block
    return vit


def images(height: int = IMAGE[0], width: int = IMAGE[1]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, height, width, generator=generator)


def timm_maps(vit: VisionTransformer, pictures: Tensor) -> list[Tensor]:
    """Every attention map as timm's own unfused forward computes it."""
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        maps.append(output.detach())

    handles = []
    for block in vit.blocks:
        block.attn.fused_attn = False
        handles.append(block.attn.attn_drop.register_forward_hook(keep))
    vit(pictures)
    for handle in handles:
        handle.remove()
    return maps


def hooks(module: nn.Module) -> int:
    """How many forward and backward hooks the module's tree carries."""
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
        for part in module.modules()
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_logits_are_those_of_timm(options: dict[str, Any]) -> None:
    vit = tiny(**options)
    extractor = Extractor(vit)
    tokens = extractor(images()).tokens
    torch.testing.assert_close(tokens, vit.forward_features(images()), rtol=0, atol=1e-5)
    torch.testing.assert_close(extractor.predict(tokens), vit(images()), rtol=0, atol=1e-5)


def test_heads_may_be_narrower_than_their_share_of_the_channels() -> None:
    vit = tiny_with(Attention(12, num_heads=3, attn_head_dim=2))
    extractor = Extractor(vit)
    logits = extractor.predict(extractor(images()).tokens)
    torch.testing.assert_close(logits, vit(images()), rtol=0, atol=1e-5)


def test_gated_attention_is_that_of_timm() -> None:
    vit = tiny_with(Attention(12, num_heads=3, gated=True))
    extractor = Extractor(vit)
    logits = extractor.predict(extractor(images()).tokens)
    torch.testing.assert_close(logits, vit(images()), rtol=0, atol=1e-5)


def test_images_of_another_size_are_refused_even_where_timm_takes_them() -> None:
    extractor = Extractor(tiny(dynamic_img_size=True))
    for read in (extractor, extractor.tokens):
        with pytest.raises(UserError, match=r"8 x 12 pixels.*12 x 8"):
            read(images(8, 12))


@pytest.mark.parametrize(("name", "size"), PUBLISHED)
def test_logits_of_published_architectures_are_those_of_timm(name: str, size: int) -> None:
    vit = randomise(create_backbone(name, num_classes=CLASSES, img_size=size)).eval()
    extractor = Extractor(vit)
    tokens = extractor(images(size, size)).tokens
    expected = vit(images(size, size))
    torch.testing.assert_close(extractor.predict(tokens), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("drop", DROPS)
def test_randomness_in_training_is_that_of_timm(drop: str) -> None:
    vit = tiny(**{drop: DROPS[drop]}).train()
    extractor = Extractor(vit)
    torch.manual_seed(7)
    expected = vit(images())
    torch.manual_seed(7)
    tokens = extractor(images()).tokens
    torch.testing.assert_close(extractor.predict(tokens), expected, rtol=0, atol=1e-5)
    torch.manual_seed(8)
    assert not torch.allclose(vit(images()), expected, atol=1e-3)


def test_gradients_are_those_of_timm() -> None:
    vit = tiny(qk_norm=True, init_values=0.3)
    extractor = Extractor(vit)
    expected = torch.autograd.grad(vit(images()).square().sum(), list(vit.parameters()))
    logits = extractor.predict(extractor(images()).tokens)
    ours = torch.autograd.grad(logits.square().sum(), list(vit.parameters()))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_a_backbone_that_recomputes_its_blocks_has_the_same_gradients() -> None:
    """timm's switch against a full memory: each block is passed again in the backward pass."""
    vit = tiny()
    extractor = Extractor(vit)
    passes: list[bool] = []
    vit.blocks[0].norm1.register_forward_pre_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    found = []
    for recomputes in (False, True):
        passes.clear()
        vit.set_grad_checkpointing(recomputes)
        loss = extractor.predict(extractor(images()).tokens).square().sum()
        found.append(torch.autograd.grad(loss, list(vit.parameters())))
        assert passes == [True] * (1 + recomputes)
    torch.testing.assert_close(*found)


def test_tokens_alone_are_those_of_forward() -> None:
    extractor = Extractor(tiny(reg_tokens=2))
    torch.testing.assert_close(extractor.tokens(images()), extractor(images()).tokens)


def test_backbone_is_left_untouched() -> None:
    vit = tiny(reg_tokens=2)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    logits = vit(images())
    extractor = Extractor(vit)
    extractor(images())
    extractor.attention_maps(images())
    assert extractor.backbone is vit
    assert hooks(vit) == 0
    assert not any("forward" in vars(part) for part in vit.modules())
    after = vit.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(vit(images()), logits)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_attention_maps_are_those_of_timm(options: dict[str, Any]) -> None:
    maps = Extractor(tiny(**options)).attention_maps(images())
    expected = timm_maps(tiny(**options), images())
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_attention_is_the_mean_of_the_maps_without_prefix_columns(
    options: dict[str, Any],
) -> None:
    vit = tiny(**options).double()
    prefix = 1 + options.get("reg_tokens", 0)
    attention = Extractor(vit)(images().double()).attention
    expected = mean_received(timm_maps(vit, images().double()), prefix)
    torch.testing.assert_close(attention, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_attention_is_a_probability_vector(options: dict[str, Any]) -> None:
    attention = Extractor(tiny(**options))(images()).attention
    assert attention.shape == (2, 6)
    assert (attention > 0).all()
    torch.testing.assert_close(attention.sum(dim=1), torch.ones(2))


def test_grid_and_prefix_are_those_of_the_backbone() -> None:
    extractor = Extractor(tiny(reg_tokens=2))
    assert (extractor.grid, extractor.prefix) == ((3, 2), 3)


def test_attention_is_a_constant_by_default() -> None:
    extracted = Extractor(tiny())(images())
    tokens, attention = extracted.tokens, extracted.attention
    assert tokens.requires_grad
    assert not attention.requires_grad


def test_gradient_through_attention_is_that_of_the_maps() -> None:
    vit = tiny(reg_tokens=2, qk_norm=True).double()
    extractor = Extractor(vit)
    pictures = images().double()
    attention = extractor(pictures, attention="gradient").attention
    maps = extractor.attention_maps(pictures)
    received = torch.stack(maps)[..., 3:, 3:].mean(dim=(0, 2, 3))  # (B, N)
    expected = received / received.sum(dim=-1, keepdim=True)
    wanted = [p for block in vit.blocks for p in block.attn.qkv.parameters()][:2]
    ours = torch.autograd.grad(attention.square().sum(), wanted)
    theirs = torch.autograd.grad(expected.square().sum(), wanted)
    torch.testing.assert_close(ours, theirs)
    assert all(gradient.any() for gradient in ours)


def test_attention_may_be_wanted_of_the_first_images_only() -> None:
    extractor = Extractor(tiny(depth=5))
    whole, first = extractor(images()), extractor(images(), first=1)
    torch.testing.assert_close(first.tokens, whole.tokens)
    torch.testing.assert_close(first.attention, whole.attention[:1])


def test_layers_are_what_enters_each_block_and_the_final_tokens() -> None:
    extractor = Extractor(tiny(depth=3)).double()
    pictures = images().double()
    recording = extractor.record(extractor.embed(pictures))
    extracted = extractor(pictures, first=1, attention="none", layers=True)
    assert len(extracted.layers) == 4
    assert extracted.attention.shape == (1, 0)
    expected = [*recording.entered, recording.tokens]
    for layer, tokens in zip(extracted.layers, expected, strict=True):
        torch.testing.assert_close(layer, tokens[:1])


def test_a_recording_is_the_forward_pass_with_what_it_goes_through() -> None:
    vit = tiny(depth=3, reg_tokens=2).double()
    extractor, pictures = Extractor(vit), images().double()
    recording = extractor.record(extractor.embed(pictures))
    torch.testing.assert_close(recording.tokens, vit.forward_features(pictures))
    assert len(recording.entered) == len(recording.attentions) == 3
    torch.testing.assert_close(vit.blocks[1](recording.entered[1]), recording.entered[2])
    maps = [inputs.map() for inputs in recording.attentions]
    torch.testing.assert_close(torch.stack(maps), torch.stack(timm_maps(vit, pictures)))
    for inputs, attention in zip(recording.attentions, maps, strict=True):
        torch.testing.assert_close(inputs.context, attention @ inputs.values)


def test_what_is_kept_are_the_leading_tokens_and_the_patches_chosen() -> None:
    extractor = Extractor(tiny(reg_tokens=2))
    embedded, chosen = extractor.embed(images()), torch.tensor([[4, 1, 3], [0, 5, 2]])
    with torch.device("meta"):  # where else what is made without a device
        kept = extractor.only(embedded, chosen)
    for tokens, whole, patches in zip(kept.tokens, embedded.tokens, chosen.tolist(), strict=True):
        assert torch.equal(tokens, whole[[0, 1, 2, *(3 + patch for patch in patches)]])
    first, second = kept.positions
    assert first is second  # made once
    assert first.kept is not None
    assert first.kept.tolist() == [[0, 1, 2, 7, 4, 6], [0, 1, 2, 3, 8, 5]]


def test_of_patches_alone_one_is_enough_and_none_too_few() -> None:
    extractor = Extractor(tiny(class_token=False, global_pool="avg"))
    embedded = extractor.embed(images())
    one, none = torch.tensor([[4], [0]]), torch.zeros(2, 0, dtype=torch.long)
    assert extractor.predict(extractor.walk(extractor.only(embedded, one))).isfinite().all()
    with pytest.raises(UserError, match="cannot answer without any"):
        extractor.only(embedded, none)
    with_token = Extractor(tiny())
    left = with_token.walk(with_token.only(with_token.embed(images()), none))
    torch.testing.assert_close(left[0], left[1])  # the class token says the same of any image


REFUSED: dict[str, Callable[[], nn.Module]] = {
    "no_transformer": lambda: nn.Linear(2, 3),
    "differential_attention": lambda: tiny(attn_layer=DiffAttention),
    "differential_blocks": lambda: tiny(block_fn=DiffParallelScalingBlock),
    "unknown_blocks": lambda: tiny_with_block(nn.Linear(2, 3)),
    "dropped_patches": lambda: tiny(patch_drop_rate=0.5),
    "no_pooling": lambda: tiny(global_pool=""),
    "refining_pool": lambda: tiny(global_pool="prr"),
}


@pytest.mark.parametrize("build", REFUSED.values(), ids=REFUSED.keys())
def test_backbones_it_cannot_run_are_refused_in_one_line(
    build: Callable[[], VisionTransformer],
) -> None:
    with pytest.raises(UserError, match=r"^[^\n]*vi[st][^\n]*$"):
        Extractor(build())
