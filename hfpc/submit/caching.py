"""Whether the tasks of a compiled pipeline may be taken from earlier runs."""

import json

from hfpc.submit.graph import Spec


def with_caching(spec: Spec, enabled: bool) -> Spec:
    """A copy of a pipeline spec with the same choice for every task, however deep."""
    changed: Spec = json.loads(json.dumps(spec))
    for component in (changed["root"], *changed.get("components", {}).values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {"enableCache": True} if enabled else {}
    return changed
