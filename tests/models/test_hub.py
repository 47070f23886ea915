"""Models on a hub and in folders: what is pushed is what is loaded, and what goes wrong is one sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from hub_server import TOKEN, Hub, Repo, running_hub
from kinema.cli import main
from kinema.models.backbones import WEIGHTS_FILE
from kinema.models.classifier import VideoClassifier, create_model
from kinema.models.hub import Address, find_weights, is_on_hub
from kinema.models.weights import initialize_from, load_model, read_metadata, save_model
from kinema.predict import Predictor
from kinema.spec import ClipSpec
from networks import randomize_

# The hub's library uploads in a way that its own HTTP client deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def small_model(seed: int = 0) -> VideoClassifier:
    spec = ClipSpec(num_frames=4, resize=40, crop=32, class_names=("a", "b"))
    return randomize_(create_model("test_resnet", temporal="tsm", num_frames=4, num_classes=2, spec=spec), seed=seed)


@pytest.fixture
def model() -> VideoClassifier:
    return small_model()


@pytest.fixture
def weights(model: VideoClassifier, tmp_path: Path) -> str:
    save_model(tmp_path / "here" / "last.safetensors", model)
    return str(tmp_path / "here" / "last.safetensors")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process talks to, with a token that may write."""
    constants = huggingface_hub.constants
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        url = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def check_same(loaded: VideoClassifier, model: VideoClassifier) -> None:
    assert (loaded.spec, loaded.config) == (model.spec, model.config)
    for (key, ours), theirs in zip(loaded.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key


def test_what_is_pushed_is_what_is_loaded(hub: Hub, weights: str, model: VideoClassifier, capsys):
    assert main(["push", weights, "hf://me/motion", "--message", "First words"]) == 0

    repo = hub.repos["me/motion"]
    files = repo.files("main")
    assert files is not None
    assert sorted(files) == ["README.md", "model.safetensors"]
    assert files["model.safetensors"] == Path(weights).read_bytes()
    assert b'Predictor("hf://me/motion")' in files["README.md"]
    assert (repo.private, repo.messages) == (False, ["First words"])
    assert f"page: {hub.endpoint}/me/motion/commit/{repo.head}" in capsys.readouterr().out
    check_same(load_model("hf://me/motion"), model)
    assert read_metadata("hf://me/motion") == read_metadata(weights)


@pytest.mark.slow
def test_a_process_pushes_and_predicts_by_the_environment_alone(weights: str, counting_video: Path, tmp_path: Path):
    with running_hub() as hub:
        own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
        lines = [
            "import sys; from kinema.cli import main",
            f"assert main(['push', {weights!r}, 'hf://me/motion']) == 0",
            f"sys.exit(main(['predict', 'hf://me/motion', {str(counting_video)!r}]))",
        ]
        run = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)],
            env={**os.environ, **own, "HF_HUB_DISABLE_XET": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    assert str(counting_video) in run.stdout
    assert (tmp_path / "home").is_dir()


def test_a_revision_is_the_one_asked_for(hub: Hub, tmp_path: Path):
    for seed in (0, 1):
        save_model(tmp_path / "w.safetensors", small_model(seed))
        assert main(["push", str(tmp_path / "w.safetensors"), "hf://me/motion"]) == 0
    first = next(iter(hub.repos["me/motion"].commits))

    check_same(load_model(f"hf://me/motion@{first}"), small_model(0))
    check_same(load_model("hf://me/motion"), small_model(1))


def test_a_model_on_the_hub_is_taken_wherever_weights_are(hub: Hub, weights: str, model: VideoClassifier):
    main(["push", weights, "hf://me/motion"])
    other = small_model(seed=1)

    assert initialize_from(other, "hf://me/motion")[0].startswith("initialized from hf://me/motion: ")
    check_same(other, model)
    check_same(Predictor("hf://me/motion", accelerator="cpu").model, model)


def test_without_a_network_the_caches_copy_is_taken(hub: Hub, weights: str, model: VideoClassifier, monkeypatch):
    main(["push", weights, "hf://me/motion"])
    load_model("hf://me/motion")
    constants = huggingface_hub.constants
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(hub.endpoint, "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    check_same(load_model("hf://me/motion"), model)
    with pytest.raises(OSError, match=r"^hf://me/other: the hub cannot be reached \(.*\); connect to the network"):
        load_model("hf://me/other")


def test_a_private_model_is_for_those_with_a_token(hub: Hub, weights: str, model: VideoClassifier, monkeypatch):
    assert main(["push", weights, "hf://me/secret", "--private"]) == 0
    assert hub.repos["me/secret"].private
    check_same(load_model("hf://me/secret"), model)

    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ValueError, match=r"^hf://me/secret: the model must be one that the hub shows you, .* HF_TOKEN"):
        load_model("hf://me/secret")


def test_nothing_is_made_public_that_was_to_be_private(hub: Hub, weights: str, capsys):
    hub.repos["me/open"] = Repo()

    assert main(["push", weights, "hf://me/open", "--private"]) == 2

    assert not hub.repos["me/open"].commits
    assert not hub.objects
    assert "a private repository must be new or private, got a public one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "me/nothing",
            "the model must be one that the hub shows you, got none or a private one; mind its name, or give",
        ),
        ("me/empty", "the repository must hold a model.safetensors, got none; it is no model that kinema has pushed"),
        ("me/empty@v2", "the revision must be a branch, tag or commit, got v2; see the model's page"),
        ("me/gated", "the model must be open to you, got a gated one; ask for it on its page, then give a token"),
        ("me/two--dashes", "the name must be one that the hub allows, got another"),
    ],
)
def test_what_cannot_be_loaded_is_one_sentence(hub: Hub, name: str, sentence: str):
    hub.repos["me/empty"] = Repo(commits={"1" * 40: {"README.md": b"nothing"}})
    hub.repos["me/gated"] = Repo(gated=True, commits={"1" * 40: {WEIGHTS_FILE: b""}})

    with pytest.raises(ValueError, match=f"^hf://{re.escape(name)}: {re.escape(sentence)}") as info:
        load_model(f"hf://{name}")

    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "source", ["hf://", "hf://name", "hf://a/b/c", "hf://a/b@", "hf://a b/c", "hf:///b", "hf://-a/b"]
)
def test_a_name_is_owner_and_name(source: str):
    with pytest.raises(ValueError, match="must be named hf://owner/name, or with @revision, got hf://"):
        find_weights(source)


def test_names_are_read():
    assert Address.of("hf://me/my.model-2_b") == Address("me/my.model-2_b", None)
    assert Address.of("hf://me/motion@refs/pr/1") == Address("me/motion", "refs/pr/1")
    assert [is_on_hub(source) for source in ("hf://a/b", "a/b", Path("hf:/a"), None)] == [True, False, False, False]


def test_other_files_of_a_repository_are_no_models(hub: Hub):
    hub.repos["me/odd"] = Repo(commits={"1" * 40: {WEIGHTS_FILE: b"no weights"}})

    with pytest.raises(ValueError, match=r"model\.safetensors: the file must be safetensors"):
        load_model("hf://me/odd")


@pytest.mark.parametrize(
    ("target", "token", "status", "sentence"),
    [
        ("hf://me/motion", None, 2, "; give a token that may (`hf auth login`, or HF_TOKEN)"),
        ("hf://you/motion", TOKEN, 2, "the hub must let you do that, got a refusal"),
        ("hf://me/motion@v1", TOKEN, 2, "target must be hf://owner/name, got hf://me/motion@v1; drop the revision"),
        ("hf://motion", TOKEN, 2, "must be named hf://owner/name"),
    ],
)
def test_what_cannot_be_pushed_is_one_sentence(
    hub: Hub, weights: str, target: str, token: str | None, status: int, sentence: str, capsys, monkeypatch
):
    if token is None:
        monkeypatch.delenv("HF_TOKEN")

    assert main(["push", weights, target]) == status

    lines = capsys.readouterr().err.strip().splitlines()
    assert sentence in lines[-1]
    assert len(lines) == 1
    assert not any(repo.commits for repo in hub.repos.values())


def test_a_hub_that_is_not_there_is_one_sentence(hub: Hub, weights: str, capsys, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")

    assert main(["push", weights, "hf://me/motion"]) == 1

    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "hf://me/motion: the hub cannot be reached" in line


def test_a_folder_is_pushed_to_and_loaded(weights: str, model: VideoClassifier, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert main(["push", weights, "./folder"]) == 0

    assert sorted(entry.name for entry in Path("folder").iterdir()) == ["README.md", "model.safetensors"]
    check_same(load_model("./folder"), model)
    check_same(load_model(Path("folder")), model)
    assert main(["push", "./folder", "./folder"]) == 0  # what push has written, it may write again
    check_same(load_model("./folder"), model)


def test_a_folder_of_somebody_else_is_left_alone(weights: str, tmp_path: Path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my own words")

    assert main(["push", weights, str(tmp_path / "mine")]) == 2
    assert main(["push", weights, weights]) == 2

    first, second = capsys.readouterr().err.strip().splitlines()
    assert "target must be a new or empty folder, or one that kinema push has written, got" in first
    assert "with README.md; name another" in first
    assert "target must be a folder or hf://owner/name, got the file" in second
    assert (tmp_path / "mine" / "README.md").read_text() == "my own words"


@pytest.mark.parametrize("option", [["--private"], ["--message", "words"]])
def test_options_of_the_hub_are_refused_for_a_folder(option: list[str], weights: str, tmp_path: Path, capsys):
    assert main(["push", weights, str(tmp_path / "new"), *option]) == 2

    assert f"{option[0].lstrip('-')} must be left out where target is a folder" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_without_a_model_names_what_is_there(weights: str, tmp_path: Path):
    folder = Path(weights).parent
    with pytest.raises(
        FileNotFoundError, match=r"must hold a model\.safetensors, got last\.safetensors; name the file"
    ):
        load_model(folder)
    with pytest.raises(FileNotFoundError, match=r"must hold a model\.safetensors, got no weights; name the file"):
        load_model(tmp_path)


def test_what_is_pushed_must_be_a_model(tmp_path: Path, capsys):
    (tmp_path / "odd.safetensors").write_bytes(b"odd")

    assert main(["push", str(tmp_path / "odd.safetensors"), str(tmp_path / "new")]) == 2
    assert main(["push", str(tmp_path / "none.safetensors"), str(tmp_path / "new")]) == 1

    assert not (tmp_path / "new").exists()
    first, second = capsys.readouterr().err.strip().splitlines()
    assert "the file must be safetensors" in first
    assert "there is no such file" in second


def test_the_recipe_in_the_weights_keeps_a_public_name(tmp_path: Path):
    from kinema.engine.recipe import ModelRecipe, Recipe
    from kinema.engine.recipe.files import recipe_to_json

    def kept(init: str) -> str:
        return json.loads(recipe_to_json(Recipe(model=ModelRecipe(init=init))))["model"]["init"]

    assert kept("hf://me/motion@v1") == "hf://me/motion@v1"
    assert kept(str(tmp_path / "last.safetensors")) == "last.safetensors"
