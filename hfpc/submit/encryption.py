"""What the steps of a run make on Vertex AI is encrypted with the key of the run."""

import copy
from typing import Any

from hfpc.submit.graph import Spec

_MAKERS = ("register_vertex_model", "deploy_vertex_endpoint", "batch_predict_vertex")
_SETTING = "extra"


def with_kms_key(spec: Spec, kms_key: str) -> Spec:
    """A pipeline whose steps that make models, endpoints and batch predictions get a key in their `extra`.

    A key that the pipeline itself gives to a step goes first. A step whose whole `extra` is only known when the run has
    begun keeps it as it is.

    Args:
        spec: A compiled pipeline; it is not changed.
        kms_key: Full name of a Cloud KMS key; "" changes nothing.
    """
    if not kms_key:
        return spec
    changed = copy.deepcopy(spec)
    makers = {name for name, component in changed.get("components", {}).items() if _makes(changed, component)}
    for name in makers:
        setting = changed["components"][name]["inputDefinitions"]["parameters"][_SETTING]
        setting["defaultValue"] = {"kms_key": kms_key, **setting.get("defaultValue", {})}
    for dag in (changed["root"], *changed.get("components", {}).values()):
        for task in dag.get("dag", {}).get("tasks", {}).values():
            given = task.get("inputs", {}).get("parameters", {}).get(_SETTING, {}).get("runtimeValue", {})
            if task["componentRef"]["name"] in makers and isinstance(given.get("constant"), dict):
                given["constant"] = {"kms_key": kms_key, **given["constant"]}
    return changed


def _makes(spec: Spec, component: dict[str, Any]) -> bool:
    executor = spec.get("deploymentSpec", {}).get("executors", {}).get(component.get("executorLabel"), {})
    arguments = executor.get("container", {}).get("args", [])
    parameters = component.get("inputDefinitions", {}).get("parameters", {})
    return arguments[-2:-1] == ["--function_to_execute"] and arguments[-1] in _MAKERS and _SETTING in parameters
