"""The trust figure: against a slow twin, by hand, and where it must be 1 and 0."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iavit.errors import UserError
from iavit.evaluate.trust import Trust, faithfulness, shared, trust
from iavit.masking.engine import Perturbation
from iavit.model.extractor import Extractor
from iavit.model.iavit import Architecture, IAViT
from iavit.model.interpreter import Interpreter
from tests.evaluate.models import additive
from tests.explain.models import GRID, images, joined
from tests.reference import evaluate as twin
from tests.reference.attention import softmax


def masked(image: Tensor, visible: Tensor, side: int) -> Tensor:
    """One image (3, H, W) with only some patches (h, w) of `side` pixels left, 0 elsewhere."""
    copy = torch.zeros_like(image)
    for row, column in visible.nonzero().tolist():
        rows = slice(row * side, row * side + side)
        columns = slice(column * side, column * side + side)
        copy[:, rows, columns] = image[:, rows, columns]
    return copy


def test_equal_to_the_twin() -> None:
    model, pictures = joined(), images()
    found = trust(model, pictures)
    for row, image in enumerate(pictures):
        output = model(image[None])
        f, g = (softmax(of[0].tolist()) for of in (output.logits, output.interpreter_logits))
        chosen = max(range(len(f)), key=lambda c: f[c])
        values = model.contributions(image[None])[0, :, chosen].tolist()
        order = sorted(range(6), key=lambda k: -values[k])
        gaps = []
        for count in (1, 1, 2, 3):  # 10, 20, 30 and 50 % of six patches
            first = torch.zeros(6, dtype=torch.bool)
            first[order[:count]] = True
            kept, gone = (
                softmax(model.predict(masked(image, part.view(GRID), 4)[None])[0].tolist())[chosen]
                for part in (first, ~first)
            )
            gaps.append(kept - gone)
        answer = 1 - twin.total_variation(f, g)
        faithful = max(0.0, sum(gaps) / 4)
        agrees = chosen == max(range(len(g)), key=lambda c: g[c])
        assert bool(found.agreement[row]) == agrees
        assert float(found.answer[row]) == pytest.approx(answer, abs=1e-5)
        assert float(found.faithfulness[row]) == pytest.approx(faithful, abs=1e-4)
        assert float(found.trust[row]) == pytest.approx(agrees * answer * faithful, abs=1e-4)
        told = answer * faithful if agrees else None
        assert found.of_image(row)["trust"] == (told and pytest.approx(told, abs=1e-4))


def test_shared_by_hand() -> None:
    half, sure = [0.0, 0.0], [float(torch.tensor(3.0).log()), 0.0]  # (1/2, 1/2), (3/4, 1/4)
    f, g = torch.tensor([sure, sure, half]), torch.tensor([half, sure, [-50.0, 50.0]])
    torch.testing.assert_close(shared(f, g), torch.tensor([0.75, 1.0, 0.5]))


def test_faithfulness_by_hand() -> None:
    shown = torch.tensor([[0.9, 1.0], [0.2, 0.4], [0.1, 0.1]])
    hidden = torch.tensor([[0.3, 0.0], [0.2, 0.2], [0.9, 0.1]])
    torch.testing.assert_close(faithfulness(shown, hidden), torch.tensor([0.8, 0.1, 0.0]))


def test_an_images_figures_have_six_decimals() -> None:
    thirds = torch.tensor([1 / 3, 2 / 3])
    found = Trust(torch.tensor([True, False]), thirds, thirds.flip(0))
    assert found.of_image(0) == {"trust": 0.222222, "answer": 0.333333, "faithfulness": 0.666667}
    assert found.of_image(1) == {"trust": None, "answer": 0.666667, "faithfulness": 0.333333}


def additive_pair(sign: float) -> IAViT:
    """A predictor that adds up over 3 x 2 patches, and an interpreter that does the same sum.

    The interpreter's attention is uniform and its value the patch itself, so its contributions
    are exactly what each patch adds, times `sign`.
    """
    vit = additive((3, 2), 4)
    interpreter = Interpreter(2, 6, 2).double()
    with torch.no_grad():
        for parameter in interpreter.parameters():
            parameter.zero_()
        interpreter.value.weight.copy_(torch.eye(2))
        interpreter.head.weight.copy_(sign * vit.head.weight)
    return IAViT(Extractor(vit), interpreter, Architecture("additive", 2, (12, 8))).eval()


def test_the_map_of_the_predictor_itself_is_trusted_and_its_opposite_is_not() -> None:
    pictures = 0.3 * images()
    found, against = trust(additive_pair(1.0), pictures), trust(additive_pair(-1.0), pictures)
    torch.testing.assert_close(found.answer, torch.ones(3), check_dtype=False)
    assert found.agreement.all()
    torch.testing.assert_close(found.trust, found.faithfulness.to(found.trust))
    assert (found.trust > 0).all()
    # The same sums with the other sign name another class, and rank what decides last.
    assert not against.agreement.any()
    assert not against.faithfulness.any()
    assert not against.trust.any()
    assert against.of_image(0)["trust"] is None


def test_a_batch_is_its_images_one_by_one_and_chance_is_left_alone() -> None:
    model, pictures = joined(), images()
    before = torch.get_rng_state()
    together = trust(model, pictures)
    assert torch.equal(torch.get_rng_state(), before)
    alone = [trust(model, image[None]) for image in pictures]
    torch.testing.assert_close(together.trust, torch.cat([of.trust for of in alone]))
    bounded = trust(model, pictures, perturbation=Perturbation(copies=1, score="logit"))
    torch.testing.assert_close(together.trust, bounded.trust)


def test_it_lies_between_0_and_1_and_leaves_the_model_training() -> None:
    model = joined().train()
    found = trust(model, images())
    for values in (found.answer, found.faithfulness, found.trust):
        assert values.shape == (3,)
        assert ((values >= 0) & (values <= 1)).all()
    assert all(part.training for part in model.modules())


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UserError):
        trust(joined(), torch.zeros(1, 3, 16, 16, dtype=torch.float64))
