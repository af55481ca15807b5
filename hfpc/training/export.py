"""The finished model as a folder that Transformers loads, with all that travels with it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from hfpc import golden, storage
from hfpc.inference.predictor import Predictor
from hfpc.manifest import Manifest, ModelRecord
from hfpc.reports.model_card import model_card

HISTORY_FILE_NAME = "history.json"


def write_model(
    out: Path,
    *,
    model: Any,
    tokenizer: Any,
    history: list[dict[str, Any]],
    golden_inputs: list[Any],
    manifest: Manifest,
) -> ModelRecord:
    """Writes a model folder; it appears whole or not at all.

    Args:
        out: Where.
        model: A Transformers model.
        tokenizer: Its tokenizer.
        history: What Trainer logged.
        golden_inputs: Inputs that whatever serves the model must answer alike.
        manifest: What the model is; the fingerprint of its `model` record is filled in here.

    Returns:
        The `model` record with its fingerprint.
    """
    assert manifest.model is not None
    with storage.publishing(out) as folder:
        model.save_pretrained(folder)
        tokenizer.model_max_length = manifest.model.max_length  # so that others cut where we do
        save_tokenizer(tokenizer, folder)
        files = [file for file in folder.rglob("*") if file.is_file()]
        record = dataclasses.replace(manifest.model, fingerprint=storage.fingerprint(files, folder))
        manifest = dataclasses.replace(manifest, model=record)
        (folder / HISTORY_FILE_NAME).write_text(json.dumps(history, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(model_card(manifest), encoding="utf-8")
        manifest.write(folder)
        predictor = Predictor(folder, trust_remote_code=record.trust_remote_code)
        golden.write(folder, golden_inputs, predictor.respond(golden_inputs))
    return record


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Saves a fast tokenizer so that Transformers 4 loads it as well, which containers of AWS still have.

    Transformers 5 writes names of classes and of settings that version 4 does not know. The class of both that reads
    `tokenizer.json` as it is gives the same ids. A tokenizer with code of its own stays as it was saved.
    """
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    if "auto_map" in settings or not (folder / "tokenizer.json").is_file():
        return
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings["model_input_names"] = list(tokenizer.model_input_names)  # the class would not know what the model takes
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
