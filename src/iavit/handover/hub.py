"""A model's repository on the hub: safetensors, config.json, and its card as README.md."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from iavit.errors import UserError
from iavit.evaluate.evaluation import Evaluation
from iavit.evaluate.evaluation_json import write_evaluation
from iavit.files import write_text
from iavit.model.black_box import BlackBox
from iavit.model.hub import is_reachable
from iavit.model.weights import Saved, save_model


def push(
    saved: Saved,
    card: str,
    repository: str,
    *,
    evaluation: Evaluation | None = None,
    private: bool = False,
) -> str:
    """Create `owner/name` where it is not there, and write the model into it in one commit.

    card: the text of README.md. evaluation: goes with it as `evaluation.json`.

    Returns the repository's address.

    Raises `UserError` for a classifier that is a program, for a name that is none, where nobody is
    signed in or may write, and where the hub cannot be reached.
    """
    if isinstance(saved.model.extractor, BlackBox):
        raise UserError(
            "a classifier that came as a program is not put on the hub, from where it would run on "
            "others' machines; hand on the run's folder"
        )
    if not is_reachable(constants.ENDPOINT):
        raise UserError(
            f"the hub at {constants.ENDPOINT} does not answer; connect to the internet, "
            f"or keep the model in a folder"
        )
    api = HfApi(endpoint=constants.ENDPOINT)
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_model(saved, folder)
        write_text(folder / "README.md", card)
        if evaluation is not None:
            write_evaluation(folder, evaluation)
        try:
            created = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=created.repo_id,
                folder_path=folder,
                commit_message="Model, card and evaluation by iavit",
            )
        except HFValidationError as error:
            raise UserError(f"'{repository}' is no name for the hub; give OWNER/NAME") from error
        except HfHubHTTPError as error:
            raise UserError(
                f"{repository} cannot be written ({_reason(error)}); sign in with "
                "`hf auth login` as someone who may"
            ) from error
    return str(created)


def _reason(error: HfHubHTTPError) -> str:
    """The hub's answer in a few words."""
    said = " ".join((error.server_message or str(error)).split())
    return f"{error.response.status_code}: {said[:120]}"
