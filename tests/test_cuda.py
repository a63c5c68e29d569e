"""What has to hold on a GPU as on the processor; `benchmarks/gpu.py` runs the mark `cuda`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from iavit.config import RECIPES, Config
from iavit.explain import EXPLAINERS
from iavit.masking.engine import Perturbation, ranked_answers
from iavit.masking.substrates import SUBSTRATES
from iavit.model.iavit import IAViT
from iavit.objective.step import objective_terms
from iavit.training.run import train
from tests.explain.models import TARGETS, images, joined
from tests.explain.test_init import FEW
from tests.training.runs import same, stopped_in_step_five, weights

pytestmark = pytest.mark.cuda
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_a_gpu)])
SAME_ON_EACH = [name for name in EXPLAINERS if name != "random"]  # which draws on the device
RANKS = torch.stack(
    [torch.randperm(6, generator=torch.Generator().manual_seed(i)) for i in (1, 2, 3)]
)


def learned(device: str) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The paper's terms with the gradient through the attention, and all gradients."""
    model = joined().to(device).requires_grad_(True)
    recipe = replace(RECIPES["paper"], attention_gradient=True)
    terms = objective_terms(model, images().to(device), TARGETS.to(device), recipe, progress=1.0)
    terms["loss"].backward()
    gradients = [torch.zeros(1) if p.grad is None else p.grad.cpu() for p in model.parameters()]
    return {name: value.detach().cpu() for name, value in terms.items()}, gradients


@each_device
def test_terms_and_gradients_are_those_of_the_processor(device: str) -> None:
    (terms, gradients), (expected, theirs) = learned(device), learned("cpu")
    assert expected["alignment"] > 0
    torch.testing.assert_close(terms, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradients, theirs, rtol=1e-5, atol=1e-6)


@each_device
@pytest.mark.parametrize("name", SAME_ON_EACH)
def test_maps_are_those_of_the_processor(name: str, device: str) -> None:
    expected = FEW[name](joined(), images(), TARGETS).maps
    maps = FEW[name](joined().to(device), images().to(device), TARGETS.to(device)).maps
    assert maps.device.type == device
    torch.testing.assert_close(maps.cpu(), expected, rtol=1e-6, atol=1e-7)


def answers(device: str, substrate: str, copies: int | None = None) -> Tensor:
    """Insertion and deletion of every patch: (3, 14)."""
    ranges = [*((0, k) for k in range(7)), *((k, 6) for k in range(7))]
    perturbation = Perturbation(SUBSTRATES[substrate], copies=copies)
    ranks = RANKS.view(3, 3, 2).to(device)
    on_device = joined().to(device), images().to(device), TARGETS.to(device)
    return ranked_answers(*on_device, ranks, ranges, perturbation).scores.cpu()


@each_device
@pytest.mark.parametrize("substrate", ["zeros", "mean", "blur", "linear", "drop"])
def test_masked_copies_are_answered_as_on_the_processor(substrate: str, device: str) -> None:
    torch.testing.assert_close(
        answers(device, substrate, copies=5), answers("cpu", substrate), rtol=0, atol=1e-9
    )


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Half a GiB beyond what is in use."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**29) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@on_a_gpu
@pytest.mark.usefixtures("little_memory")
def test_out_of_memory_the_engine_goes_on_with_fewer_copies() -> None:
    model = IAViT.create("vit_digits", 10, 32).cuda().eval()
    pictures = torch.randn(256, 3, 32, 32, device="cuda")
    targets = torch.zeros(256, dtype=torch.int64, device="cuda")
    ranks = torch.rand(256, 64, device="cuda").argsort(dim=1).view(256, 8, 8)
    ranges = [(0, k) for k in range(65)]
    with pytest.warns(UserWarning, match="out of memory: went on with"):
        found = ranked_answers(model, pictures, targets, ranks, ranges, Perturbation(copies=2**16))
    expected = ranked_answers(model, pictures, targets, ranks, ranges, Perturbation(copies=64))
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)


@each_device
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_resumed_run_has_the_same_weights(
    device: str,
    precision: str,
    tiny_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accelerator = "gpu" if device == "cuda" else "cpu"
    training = replace(tiny_config.training, accelerator=accelerator, precision=precision)  # type: ignore[arg-type]
    config = replace(tiny_config, training=training)
    train(config, tmp_path / "whole")
    stopped_in_step_five(config, tmp_path / "stopped", monkeypatch)
    train(config, tmp_path / "stopped", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


@on_a_gpu
def test_sharded_it_learns_what_it_learns_whole(tiny_config: Config, tmp_path: Path) -> None:
    training = replace(tiny_config.training, accelerator="gpu", clip=0.0)
    config = replace(tiny_config, training=training)
    train(config, tmp_path / "whole")
    train(replace(config, training=replace(training, strategy="fsdp")), tmp_path / "sharded")
    torch.testing.assert_close(
        weights(tmp_path / "sharded"), weights(tmp_path / "whole"), rtol=1e-3, atol=1e-4
    )
