"""One step of the method: what is asked of a batch, when, and how it adds up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from iavit.config import RECIPES, ObjectiveConfig
from iavit.masking.sampling import draw_visible, mask_images
from iavit.model.iavit import IAViT
from iavit.model.interpreter import Interpreter
from iavit.objective.alignment import ALIGNMENTS
from iavit.objective.effects import patch_effects
from iavit.objective.inputs import EffectSample, Inputs, MaskedCopies
from iavit.objective.step import TERMS, Term, begun, objective_terms, parts_read, weighted_sum
from iavit.training.finetune import freeze, rest_frozen
from iavit.types import Output
from tests.objective.outputs import BATCH, CLASSES, PATCHES, outputs
from tests.reference import objective as twin

SIZE = 12


LABELS = torch.tensor([0, 2, 1, 4, 0, 3, 2])


FAITHFUL, PAPER, PLAIN = RECIPES["faithful"], RECIPES["paper"], RECIPES["plain"]
ACCURACIES = {"predictor_accuracy", "interpreter_accuracy", "agreement"}
# Every term, all of them after a quarter of the run.
EVERYTHING = ObjectiveConfig(
    "paper",
    interpreter="joint",
    alignment_weight=1.0,
    masked_share=0.5,
    masked_weight=0.5,
    effect_weight=4.0,
    effect_attention_weight=3.0,
    explain_from=0.25,
)


@pytest.fixture
def model() -> IAViT:
    """Weights large enough for attention far from uniform."""
    torch.manual_seed(0)
    model = IAViT.create("vit_digits", CLASSES, SIZE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def images() -> Tensor:
    return 3 * torch.randn(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def terms_of(model: IAViT, config: ObjectiveConfig, progress: float = 1.0) -> dict[str, Tensor]:
    torch.manual_seed(2)
    return objective_terms(model, images(), LABELS, config, progress)


def right(logits: Tensor) -> float:
    pairs = zip(logits, LABELS.tolist(), strict=True)
    return sum(int(row.argmax()) == label for row, label in pairs) / BATCH


def agreeing(output: Output) -> float:
    pairs = zip(output.logits, output.interpreter_logits, strict=True)
    return sum(int(f.argmax()) == int(g.argmax()) for f, g in pairs) / BATCH


def test_the_papers_terms_are_those_of_the_twin(model: IAViT) -> None:
    with torch.no_grad():
        output = model(images())
    terms = terms_of(model, PAPER)
    expected = {
        "cross_entropy": twin.cross_entropy(output.logits, LABELS),
        "simulation": twin.simulation(output.logits, output.interpreter_logits, 3.0),
        "alignment": twin.mmd(output.extractor_attention, output.interpreter_attention),
        "predictor_accuracy": right(output.logits),
        "interpreter_accuracy": right(output.interpreter_logits),
        "agreement": agreeing(output),
    }
    assert terms.keys() == {"loss", *expected}
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4), name
    expected_loss = expected["cross_entropy"] + expected["simulation"] + expected["alignment"]
    assert terms["loss"].item() == pytest.approx(expected_loss, rel=1e-4)


def test_copies_are_of_the_first_images_with_random_patches_missing(model: IAViT) -> None:
    terms = terms_of(model, replace(EVERYTHING, effect_share=0.0))
    torch.manual_seed(2)
    visible = draw_visible(4, PATCHES, torch.device("cpu"))  # half of the batch, rounded
    copies = mask_images(images()[:4], visible, model.grid)
    with torch.no_grad():
        masked_logits = model.predict(copies)
    expected = twin.cross_entropy(masked_logits, LABELS[:4])
    assert terms["masked_cross_entropy"].item() == pytest.approx(expected, rel=1e-4)


def test_copies_of_images_that_are_no_squares_hide_whole_patches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = IAViT.create("vit_digits", CLASSES, (8, 12)).eval()
    asked: list[tuple[int, int]] = []

    def noted(count: int, patches: int, device: torch.device) -> Tensor:
        asked.append((count, patches))
        return draw_visible(count, patches, device)

    monkeypatch.setattr("iavit.objective.step.draw_visible", noted)
    pictures = torch.randn(BATCH, 3, 8, 12)
    terms = objective_terms(model, pictures, LABELS, replace(EVERYTHING, effect_share=0.0))
    assert asked == [(4, 6)]  # of 2 x 3 patches
    assert "masked_cross_entropy" in terms


def test_the_path_sample_is_of_the_first_images_and_of_the_class_chosen(model: IAViT) -> None:
    terms = terms_of(model, replace(PLAIN, effect_weight=1.0, effect_share=0.4))
    chosen = model.predict(images()[:3]).argmax(dim=1)
    torch.manual_seed(2)
    gradient = patch_effects(model.predict, images()[:3], chosen, model.grid)
    with torch.no_grad():
        contributions = model.contributions(images()[:3])[torch.arange(3), :, chosen]
    expected = twin.effect_simulation(contributions, gradient)
    assert terms["effect"].item() == pytest.approx(expected, rel=1e-4)


def test_the_attention_is_that_of_the_images_sampled(model: IAViT) -> None:
    terms = terms_of(model, replace(PLAIN, effect_attention_weight=1.0, effect_share=0.4))
    with torch.no_grad():
        output = model(images()[:3])
    torch.manual_seed(2)
    chosen = output.logits.argmax(dim=1)
    gradient = patch_effects(model.predict, images()[:3], chosen, model.grid)
    expected = twin.effect_attention(output.interpreter_attention, gradient)
    assert terms["effect_attention"].item() == pytest.approx(expected, rel=1e-4)


def test_without_labels_the_interpreter_learns_from_the_predictor_alone(model: IAViT) -> None:
    torch.manual_seed(2)
    without = objective_terms(model, images(), None, FAITHFUL)
    asked = terms_of(model, FAITHFUL)
    assert without.keys() == {"loss", "simulation", "effect", "effect_attention", "agreement"}
    for name in without.keys() - {"loss"}:
        assert without[name].item() == asked[name].item(), name
    assert without["loss"].item() == pytest.approx(
        asked["loss"].item() - asked["cross_entropy"].item(), rel=1e-5
    )


def test_the_path_term_moves_the_interpreter_and_what_it_reads(model: IAViT) -> None:
    terms_of(model, replace(PLAIN, effect_weight=1.0, effect_share=1.0))["effect"].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"interpreter.query.weight", "interpreter.value.weight"} <= moved
    assert "extractor.backbone.blocks.0.mlp.fc1.weight" in moved
    assert not any(name.startswith("extractor.backbone.head") for name in moved)


def test_a_step_leaves_every_part_in_its_mode(model: IAViT) -> None:
    """A frozen backbone is in evaluation mode within a model that trains."""
    model.train()
    freeze(model, 0)
    rest_frozen(model)
    modes = [part.training for part in model.modules()]
    assert set(modes) == {True, False}
    assert "effect" in terms_of(model, EVERYTHING)
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize("progress", [0.0, 0.2, 0.249])
def test_before_the_explaining_begins_the_labels_alone_are_learned(
    model: IAViT, progress: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Interpreter, "forward", lambda *_: pytest.fail("not asked for"))
    terms = terms_of(model, EVERYTHING, progress)
    assert terms.keys() == {"loss", "cross_entropy", "predictor_accuracy"}
    assert terms["loss"].item() == terms["cross_entropy"].item()
    assert torch.rand(3).tolist() == torch.rand(3, generator=torch.manual_seed(2)).tolist()


def test_all_terms_begin_with_the_explaining(model: IAViT) -> None:
    assert terms_of(model, EVERYTHING, 0.25).keys() == {"loss", *TERMS} | ACCURACIES
    assert begun(EVERYTHING, 0.25) == EVERYTHING
    assert begun(PAPER, 0.0) == PAPER


def test_a_plain_classifier_is_timms_and_draws_nothing(model: IAViT) -> None:
    terms = terms_of(model, PLAIN)
    terms["loss"].backward()
    assert all(parameter.grad is None for parameter in model.interpreter.parameters())
    with torch.no_grad():
        expected = twin.cross_entropy(model.extractor.backbone(images()), LABELS)
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"simulation_weight": 0.0}, {"simulation"}),
        ({"alignment_weight": 0.0}, {"alignment"}),
        ({"masked_weight": 0.0}, {"masked_cross_entropy"}),
        ({"masked_share": 0.0}, {"masked_cross_entropy"}),
        ({"masked_share": 0.05}, {"masked_cross_entropy"}),  # less than half an image
        ({"effect_weight": 0.0}, {"effect"}),
        ({"effect_attention_weight": 0.0}, {"effect_attention"}),
        ({"effect_share": 0.0}, {"effect", "effect_attention"}),
        ({"effect_share": 0.05}, {"effect", "effect_attention"}),
    ],
)
def test_a_term_without_a_weight_or_images_is_not_there(
    model: IAViT, changes: dict[str, float], gone: set[str]
) -> None:
    config = replace(EVERYTHING, **changes)  # type: ignore[arg-type]
    terms = terms_of(model, config)
    assert terms.keys() == {"loss", *TERMS} - gone | ACCURACIES
    weights = {"cross_entropy": 1.0, "simulation": 1.0, "alignment": 1.0}
    weights |= {"masked_cross_entropy": 0.5, "effect": 4.0, "effect_attention": 3.0}
    expected = sum(weights[name] * terms[name].item() for name in terms.keys() & weights.keys())
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"simulation_weight": 1.0}, {"interpreter"}),
        ({"alignment_weight": 1.0}, {"interpreter", "extractor_attention"}),
        ({"masked_weight": 1.0, "masked_share": 0.5}, {"copies"}),
        ({"masked_weight": 1.0}, set()),
        ({"effect_weight": 1.0, "effect_share": 0.5}, {"interpreter", "effect"}),
        ({"effect_attention_weight": 1.0, "effect_share": 0.5}, {"interpreter", "effect"}),
        ({"effect_weight": 1.0, "effect_share": 0.0}, set()),
    ],
)
def test_only_what_some_term_reads_is_computed(
    changes: dict[str, float], expected: set[str]
) -> None:
    assert parts_read(replace(PLAIN, **changes)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("masked_share", [0.0, 0.5])
@pytest.mark.parametrize("gradient", [False, True])
def test_one_switch_decides_whether_the_alignment_moves_the_extractors_attention(
    model: IAViT, gradient: bool, masked_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets: list[Tensor] = []

    def noted(inputs: Inputs, config: ObjectiveConfig) -> Tensor:
        output = inputs.output
        assert len(output.tokens) == BATCH
        targets.append(output.extractor_attention)
        return ALIGNMENTS["kl"](output.extractor_attention, output.interpreter_attention)

    monkeypatch.setitem(TERMS, "alignment", replace(TERMS["alignment"], value=noted))
    terms = terms_of(
        model, replace(EVERYTHING, attention_gradient=gradient, masked_share=masked_share)
    )
    (target,) = targets
    assert target.shape == (BATCH, PATCHES)  # of whole images, none of the masked copies
    assert target.requires_grad is gradient
    found = torch.autograd.grad(terms["alignment"], target, allow_unused=True) if gradient else None
    assert found is None or (found[0] is not None and bool(found[0].any()))


def test_a_term_of_ones_own_is_a_function_and_a_line(
    model: IAViT, monkeypatch: pytest.MonkeyPatch
) -> None:
    def focus_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor:
        return inputs.output.interpreter_attention.amax(dim=1).mean()

    own = Term(lambda config: 3.0, focus_term, frozenset({"interpreter"}))
    monkeypatch.setitem(TERMS, "focus", own)
    terms = terms_of(model, PLAIN)
    focus = model(images()).interpreter_attention.amax(dim=1).mean().item()
    assert terms["focus"].item() == pytest.approx(focus, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(
        terms["cross_entropy"].item() + 3 * focus, rel=1e-5
    )


@pytest.mark.parametrize("alignment", list(ALIGNMENTS))
def test_terms_are_computed_in_full_precision_under_autocast(alignment: Any) -> None:
    """Half-precision outputs: the terms are those of the same numbers in float32."""

    def inputs(dtype: torch.dtype) -> Inputs:
        half = {name: part.detach().bfloat16() for name, part in vars(outputs()).items()}
        output = Output(**{name: part.to(dtype) for name, part in half.items()})
        copies = MaskedCopies(torch.ones(2, PATCHES, dtype=torch.bool), output.logits[3:5])
        first, second = output.interpreter_attention, output.extractor_attention
        effect = EffectSample(first, first.roll(1, dims=0), second)
        return Inputs(output, LABELS, copies, effect)

    config = replace(EVERYTHING, alignment=alignment)
    with torch.autocast("cpu", torch.bfloat16):
        found = weighted_sum(inputs(torch.bfloat16), config)
    expected = weighted_sum(inputs(torch.float32), config)
    assert found.keys() == expected.keys() == {"loss", *TERMS}
    for name, term in found.items():
        assert term.dtype == torch.float32
        assert torch.equal(term, expected[name]), name


def test_accuracies_of_mixed_images_are_by_the_larger_part(model: IAViT) -> None:
    right = model.predict(images()).argmax(dim=1)
    other = (right + 1) % CLASSES
    larger = torch.tensor([0.7, 0.6, 0.9, 0.4, 0.3, 0.8, 0.2])  # of the class that is right
    mixed = torch.zeros(BATCH, CLASSES)
    mixed[torch.arange(BATCH), right], mixed[torch.arange(BATCH), other] = larger, 1 - larger
    terms = objective_terms(model, images(), mixed, PAPER, 1.0)
    assert terms["predictor_accuracy"].item() == pytest.approx(4 / 7)


def test_a_plain_loop_of_pytorch_trains() -> None:
    """The loop of the README, on a batch that is to be learned by heart."""
    torch.manual_seed(0)
    batches = [(torch.randn(16, 3, 16, 16), torch.arange(16) % 4)] * 40

    model = IAViT.create("vit_digits", num_classes=4, img_size=16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for step, (pictures, labels) in enumerate(batches):
        progress = step / len(batches)  # the share of the run that is over
        terms = objective_terms(model, pictures, labels, EVERYTHING, progress)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append({name: term.item() for name, term in terms.items()})

    assert losses[0]["cross_entropy"] > 1.2  # log 4 is 1.39
    assert losses[-1]["cross_entropy"] < 0.3
    assert losses[-1]["predictor_accuracy"] == 1.0
    assert ["effect" in terms for terms in losses] == [False] * 10 + [True] * 30
