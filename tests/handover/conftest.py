from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iavit.data.transforms import Normalisation
from iavit.handover.classifier import Classifier, load
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved, save_model
from tests.handover.pictures import CLASSES


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = IAViT.create("vit_digits", 3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("model")
    save_model(Saved(model, CLASSES, Normalisation((0.2, 0.4, 0.6), (0.5, 0.5, 0.5))), folder)
    return folder


@pytest.fixture(scope="session")
def classifier(folder: Path) -> Classifier:
    return load(folder)
