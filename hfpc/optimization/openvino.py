"""A model as OpenVINO's two files, made by Optimum: in full precision, or in INT8."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hfpc import manifest, tasks
from hfpc.inference.backends.openvino import send_nothing
from hfpc.optimization.samples import training_inputs


def export(model: Path, file: Path, *, trust_remote_code: bool) -> None:
    """Writes a model as OpenVINO's `.xml` and `.bin`."""
    exported = _auto_model(model).from_pretrained(
        model, export=True, compile=False, load_in_8bit=False, trust_remote_code=trust_remote_code
    )
    _save(exported, file)


def quantize(
    source: Path, file: Path, model: Path, dataset: Path, *, rows: int, seed: int, trust_remote_code: bool
) -> None:
    """Writes an OpenVINO model with INT8 weights, whose activations have the ranges they had for training rows."""
    auto_model = _auto_model(model)
    import nncf
    import openvino
    from optimum.intel import OVConfig, OVQuantizationConfig, OVQuantizer
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
    exported = auto_model(openvino.Core().read_model(source), config=settings, compile=False)
    names = [item.get_any_name() for item in exported.model.inputs]
    inputs = training_inputs(model, dataset, names, count=rows, seed=seed)
    quantization = OVQuantizationConfig(
        num_samples=len(inputs),
        overflow_fix="enable",  # weights of 7 bits, for processors without VNNI; see `hfpc.optimization.onnx`
    )
    OVQuantizer.from_pretrained(exported, seed=seed).quantize(
        calibration_dataset=nncf.Dataset(inputs), ov_config=OVConfig(quantization_config=quantization)
    )
    _save(exported, file)


def _auto_model(model: Path) -> Any:
    """Optimum's class for the model's task."""
    send_nothing()
    import optimum.intel

    task = tasks.get(manifest.read(model, "model").task)
    return getattr(optimum.intel, task.auto_model().__name__.replace("Auto", "OV", 1))


def _save(exported: Any, file: Path) -> None:
    file.parent.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:  # Optimum writes a whole model folder
        exported.save_pretrained(scratch)
        for part in (file, file.with_suffix(".bin")):
            shutil.move(Path(scratch, part.name), part)
