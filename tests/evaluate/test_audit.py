from __future__ import annotations

from iavit.config import Config, DataConfig
from iavit.data import digits
from iavit.data.datasets import load_dataset
from iavit.evaluate.audit import audit
from iavit.explain import EXPLAINERS
from iavit.model.iavit import IAViT


def test_the_mass_on_the_shortcut_is_told_where_there_is_one() -> None:
    model = IAViT.create("vit_digits", len(digits.CLASSES), digits.SIZE)
    explainers = {name: EXPLAINERS[name] for name in ("interpreter", "random")}
    for rate, told in ((0.0, False), (0.9, True)):
        images = load_dataset(Config(data=DataConfig("digits", shortcut=rate))).test.first(7)
        found = audit(model, images, explainers, dataset="digits", seed=0)
        for of in found["localisation"].values():
            assert ("shortcut_mass" in of) == told
            assert "evidence_mass" in of
