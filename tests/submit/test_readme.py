"""README files of pipelines: the command in them is one that works."""

import re
import shlex
from pathlib import Path

import pytest

from hfpc import pipelines
from hfpc.submit.find import find
from hfpc.submit.parameters import resolve

ROOT = Path(__file__).parents[2]
FILLED_IN = {"project": "my-project", "location": "us-central1"}
"""What `hfpc submit` gives beside the parameters on its command line."""


def command(name):
    """The words of the command in a pipeline's README."""
    page = (ROOT / "pipelines" / name / "README.md").read_text("utf-8")
    return shlex.split(re.search(r"```bash\n(.*?)\n```", page, re.DOTALL)[1])


@pytest.mark.parametrize("name", pipelines.__all__)
def test_the_command_gives_every_parameter_that_a_pipeline_needs(name):
    words = command(name)
    given = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--set")
    spec = find(name)
    known = set(spec["root"]["inputDefinitions"]["parameters"])
    if words[1] == "submit":
        given |= {argument: value for argument, value in FILLED_IN.items() if argument in known}
    assert resolve(spec, given).keys() >= given.keys()


def test_the_command_is_for_the_platform_of_the_pipeline():
    commands = {name: command(name) for name in pipelines.__all__}
    assert commands["finetune_local"] == "hfpc run finetune_local --set source=sample:tweets".split()
    assert commands["finetune_sagemaker"][:3] == ["hfpc", "run", "finetune_sagemaker"]
    assert commands["finetune_kubeflow"][:5] == "hfpc submit finetune_kubeflow --to kubeflow".split()
    for name in ("finetune_vertex", "retrain_vertex", "vertex_to_sagemaker"):
        assert commands[name][:5] == ["hfpc", "submit", name, "--project=…", "--location=…"]
