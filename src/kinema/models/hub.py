"""Weights by name: a file, a folder with a model, or `hf://owner/name` on the hub, which is downloaded once.

The hub's own library decides where it lies (`HF_ENDPOINT`), where copies are kept (`HF_HOME`), and which token is sent
(`HF_TOKEN`, or what `hf auth login` has stored). It is imported when it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kinema.wording import listed

SCHEME = "hf://"
WEIGHTS_FILE = "model.safetensors"
"""What the weights of a model are called in a repository or a folder."""
REACH_SECONDS = 10.0
"""How long to wait for the hub's first answer before giving up."""
TOKEN = "give a token that may (`hf auth login`, or HF_TOKEN)"
"""What to do about a refusal."""


@dataclass(frozen=True)
class Address:
    """A repository on the hub."""

    repo: str
    """Owner and name, as `owner/name`."""
    revision: str | None
    """Branch, tag or commit; none is the newest of the main branch."""

    @classmethod
    def of(cls, source: str) -> Address:
        """Reads `hf://owner/name` or `hf://owner/name@revision`.

        Raises:
            ValueError: If it is written in another way.
        """
        match = re.fullmatch(r"hf://(\w[\w.-]*/\w[\w.-]*)(?:@([\w./-]+))?", source, flags=re.ASCII)
        if match is None:
            raise ValueError(
                f"a model on the hub must be named hf://owner/name, or with @revision, got {source}; mind the name"
            )
        return cls(*match.groups())


def is_on_hub(source: str | Path | None) -> bool:
    """Tells a name on the hub from a path."""
    return isinstance(source, str) and source.startswith(SCHEME)


def find_weights(source: str | Path) -> Path:
    """Returns the file that holds a model's weights.

    Args:
        source: A file; a folder with a `model.safetensors`; or `hf://owner/name`, by choice with `@revision`.

    Returns:
        The file; one of the hub's lies in the hub's cache. A file is not looked for.

    Raises:
        FileNotFoundError: If a folder has no such file.
        OSError: If the hub cannot be reached and the cache has no copy.
        ValueError: If the name is wrong, or the hub has no such model or does not show it.
    """
    if is_on_hub(source):
        return _download(str(source))
    path = Path(source)
    if not path.is_dir():
        return path
    if not (path / WEIGHTS_FILE).is_file():
        others = listed(sorted(file.name for file in path.glob("*.safetensors")))
        raise FileNotFoundError(
            f"{source}: a folder must hold a {WEIGHTS_FILE}, got {others or 'no weights'}; name the file"
        )
    return path / WEIGHTS_FILE


def upload(files: Mapping[str, Path | bytes], target: str, *, private: bool, message: str) -> str:
    """Puts files into a repository on the hub, which is made if it is not there, in one commit.

    Args:
        files: Name in the repository -> a file, or its content.
        target: `hf://owner/name`.
        private: Whether only its owner may see it; otherwise a new one is as its owner's settings say.
        message: Words for the commit.

    Returns:
        The page of the commit.

    Raises:
        OSError: If the hub cannot be reached.
        ValueError: If the name is wrong, the hub does not take the files, or a private repository is asked for where
            there is a public one.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    address = Address.of(target)
    if address.revision is not None:
        raise ValueError(f"target must be hf://owner/name, got {target}; drop the revision, the hub makes one")
    api = HfApi()
    try:
        api.create_repo(address.repo, private=private or None, exist_ok=True)
        public = private and not api.repo_info(address.repo).private
        if not public:
            operations = [CommitOperationAdd(name, content) for name, content in files.items()]
            return str(api.create_commit(address.repo, operations, commit_message=message).commit_url)
    except Exception as error:  # as in _download
        raise _in_words(error, target) from error
    raise ValueError(f"{target}: a private repository must be new or private, got a public one; make it private first")


def _download(source: str) -> Path:
    """Returns the cache's copy, the newest one where the hub can be reached.

    The hub is asked once, which fails at once where its library would try again for half a minute.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    address = Address.of(source)
    repo, revision = address.repo, address.revision
    try:
        get_hf_file_metadata(hf_hub_url(repo, WEIGHTS_FILE, revision=revision), timeout=REACH_SECONDS)
        return Path(hf_hub_download(repo, WEIGHTS_FILE, revision=revision))
    except Exception as error:  # the hub's HTTP client is no part of its API, so its errors have no name here
        said = _in_words(error, source)
        copy = None if isinstance(said, ValueError) else try_to_load_from_cache(repo, WEIGHTS_FILE, revision=revision)
        if isinstance(copy, str):
            return Path(copy)
        raise said from error


def _in_words(error: Exception, source: str) -> Exception:
    """Says in a sentence what the hub's library could not do."""
    from huggingface_hub import errors

    if type(error) is RuntimeError and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of an upload that failed, the library says nothing else
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if isinstance(error, errors.GatedRepoError):
        return ValueError(
            f"{source}: the model must be open to you, got a gated one; ask for it on its page, then {TOKEN}"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ValueError(
            f"{source}: the model must be one that the hub shows you, got none or a private one; mind its name, or "
            f"{TOKEN}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        revision = Address.of(source).revision
        return ValueError(
            f"{source}: the revision must be a branch, tag or commit, got {revision}; see the model's page"
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return ValueError(
            f"{source}: the repository must hold a {WEIGHTS_FILE}, got none; it is no model that kinema has pushed"
        )
    if isinstance(error, errors.HFValidationError):
        return ValueError(f"{source}: the name must be one that the hub allows, got another ({reason}); mind the name")
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return ValueError(f"{source}: the hub must let you do that, got a refusal ({reason}); {TOKEN}")
    if isinstance(error, errors.HfHubHTTPError):
        return OSError(f"{source}: the hub has failed ({reason}); try again")
    return OSError(f"{source}: the hub cannot be reached ({reason}); connect to the network, or name a local file")
