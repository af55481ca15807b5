"""Finding the model that is fine-tuned: an embedded sample, a folder, a URI or a Hub id.

Only safetensors weights are ever read. A Hub model is pinned to the commit SHA its revision meant.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfpc import samples, storage
from hfpc.errors import ArgumentError, ModelError
from hfpc.home import home

_TOKENIZER_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
_WEIGHT_FILES = ("*.safetensors",)
_CODE_FILES = ("*.py",)
_HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A base model on this machine.

    Attributes:
        folder: Where its files are.
        revision: Commit SHA on the Hub; "" for a folder or a sample.
        trust_remote_code: Whether its own Python code may run.
    """

    folder: Path
    revision: str
    trust_remote_code: bool

    def tokenizer(self) -> Any:
        """The fast tokenizer.

        Raises:
            ModelError: The model has none.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=self.trust_remote_code)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{self.folder} has no tokenizer that loads: {error}") from error
        if not tokenizer.is_fast:
            raise ModelError(f"{self.folder} has only a slow tokenizer; save a tokenizer.json beside it")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def load(self, auto_model: Any, **options: Any) -> Any:
        """The model, from safetensors only.

        Args:
            auto_model: An Auto class of transformers.
            **options: Passed to its `from_pretrained`.

        Raises:
            ModelError: There are no safetensors weights, or they do not load.
        """
        from safetensors import SafetensorError

        refuse_pickle(self.folder)
        try:
            with quiet():
                return auto_model.from_pretrained(
                    self.folder, use_safetensors=True, trust_remote_code=self.trust_remote_code, **options
                )
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"the model in {self.folder} does not load: {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the progress bars and load reports of Transformers out of the log.

    Bars that redraw themselves fill a log file, and a base model never has the head that a report
    would miss; what must not be missing is checked where it matters.
    """
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def check(base_model: str, revision: str = "") -> None:
    """Raises ArgumentError for a base model that cannot exist; nothing is looked up on a store or the Hub."""
    place = base_model.removeprefix("file://")
    if place.startswith(samples.PREFIX):
        samples.model(place)
    elif not storage.is_uri(place) and not Path(place).is_dir():
        if place.startswith((".", "/", "~")) or not _HUB_ID.match(place):
            fix = "give a folder that exists, a URI, a Hub id or sample:minilm"
            raise ArgumentError("base_model", base_model, fix)
        return
    _no_revision(base_model, revision)


def find(base_model: str, revision: str = "", *, trust_remote_code: bool = False, weights: bool = True) -> BaseModel:
    """Finds a base model and brings its files to this machine.

    Args:
        base_model: `sample:NAME`, a folder, a URI (`gs://…`, `s3://…`) or a Hub id.
        revision: Branch, tag or commit SHA; Hub ids only. "" means `main`.
        trust_remote_code: Let the model's own Python code run. Off, because such code can do
            anything this process can.
        weights: Also bring the weights; a tokenizer alone does not need them.

    Raises:
        ArgumentError: There is no such model, or a revision was given for something without any.
        ModelError: The model has no safetensors weights.
    """
    base_model = base_model.removeprefix("file://")
    if base_model.startswith(samples.PREFIX):
        folder, revision = samples.model(base_model).locate(), _no_revision(base_model, revision)
    elif storage.is_uri(base_model):
        revision = _no_revision(base_model, revision)
        folder = storage.local_folder(base_model, home() / "models", "base_model")
    elif Path(base_model).is_dir():
        folder, revision = Path(base_model), _no_revision(base_model, revision)
    else:
        folder = _snapshot(base_model, revision, trust_remote_code, weights)
        revision = folder.name
    if weights:
        refuse_pickle(folder)
    return BaseModel(folder=folder, revision=revision, trust_remote_code=trust_remote_code)


def refuse_pickle(folder: Path) -> None:
    """Raises ModelError unless the folder has safetensors weights."""
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in folder.glob(pattern))
    if pickled:
        raise ModelError(
            f"{folder} has only pickle weights ({', '.join(pickled)}), which can run any code when loaded: "
            "save the model with save_pretrained(safe_serialization=True) in a sandbox first"
        )
    raise ModelError(f"{folder} has no *.safetensors weights")


def _no_revision(base_model: str, revision: str) -> str:
    if revision:
        raise ArgumentError("revision", revision, f"leave it empty: {base_model} is not on the Hub")
    return ""


def _snapshot(base_model: str, revision: str, trust_remote_code: bool, weights: bool) -> Path:
    """The files of a Hub model in the Hub's own cache; the folder's name is the commit SHA."""
    if not _HUB_ID.match(base_model):
        raise ArgumentError("base_model", base_model, "give a folder that exists, a URI, a Hub id or sample:minilm")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [*_TOKENIZER_FILES, *(_WEIGHT_FILES if weights else ()), *(_CODE_FILES if trust_remote_code else ())]
    try:
        return Path(snapshot_download(base_model, revision=revision or None, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        fix = "it is neither a folder here nor in the Hub's cache, and the Hub cannot be reached (HF_HUB_OFFLINE?)"
        raise ArgumentError("base_model", base_model, fix) from error
    except HfHubHTTPError as error:
        at = f" at revision {revision!r}" if revision else ""
        fix = f"the Hub has no such model{at}, or it is private or gated and HF_TOKEN is missing ({error})"
        raise ArgumentError("base_model", base_model, fix) from error
