"""What was submitted to the loopback Vertex AI is what runs: here, task by task, through kfp.local."""

from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format

from hfpc import runs
from hfpc.submit.local import run


def execute(job: Any, folder: Path) -> runs.Run:
    """Runs a pipeline job, as it arrived, on this machine.

    Args:
        job: The `PipelineJob` that a loopback Vertex AI keeps.
        folder: Where the spec is written.
    """
    file = folder / "submitted.yaml"
    content = json_format.MessageToDict(job._pb)
    file.write_text(yaml.safe_dump(content["pipelineSpec"]), encoding="utf-8")
    return run(str(file), content["runtimeConfig"].get("parameterValues", {}))
