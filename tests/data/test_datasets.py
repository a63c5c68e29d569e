from __future__ import annotations

from pathlib import Path

import pytest

from iavit.config import Config, DataConfig
from iavit.data.datasets import DATASETS, load_dataset
from iavit.errors import UserError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shortcut": 1.5}, "`shortcut`"),
        ({"data": "fashion_mnist", "shortcut": 0.5}, "`shortcut`"),
        ({"cache": "somewhere"}, "`cache`"),
    ],
)
def test_options_of_other_sets_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset(Config(data=DataConfig(**options)))  # type: ignore[arg-type]


def test_every_set_says_how_to_get_it() -> None:
    for name, source in DATASETS.items():
        assert source.get, name
        assert source.find(Path("/nowhere")) is None or name == "digits"
