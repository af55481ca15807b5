"""Machines and accelerators: whether the region has them, and whether the project may use them."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hfpc import google_cloud
from hfpc.doctor import Finding
from hfpc.submit.preflight_google import Google, NoCredentialsError, UncheckedError
from hfpc.submit.preflight_subject import Subject, note, ok, problem

_MOST_PAGES = 20
_METRICS = {
    "nvidia-tesla-p4": "nvidia_p4_gpus",
    "nvidia-tesla-p100": "nvidia_p100_gpus",
    "nvidia-tesla-t4": "nvidia_t4_gpus",
    "nvidia-tesla-v100": "nvidia_v100_gpus",
    "nvidia-l4": "nvidia_l4_gpus",
    "nvidia-tesla-a100": "nvidia_a100_gpus",
    "nvidia-a100-80gb": "nvidia_a100_80gb_gpus",
    "nvidia-h100-80gb": "nvidia_h100_gpus",
    "nvidia-h100-mega-80gb": "nvidia_h100_mega_gpus",
    "ct5lp": "tpu_v5e",
}
"""Accelerator, or the first part of a TPU machine's name, to the end of its quota metric."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Machines that a task asks for.

    Attributes:
        task: Name of the task.
        machine_type: E.g. "g2-standard-8"; "" where Vertex AI chooses.
        accelerator: Name as Compute Engine spells it, e.g. "nvidia-l4"; "" for none.
        count: Accelerators a machine; chips of all machines together for TPUs.
        replicas: Machines.
        quota: First part of the quota metric, e.g. "custom_model_training".
    """

    task: str
    machine_type: str
    accelerator: str
    count: int
    replicas: int
    quota: str


def asked_for(subject: Subject) -> list[Machine]:
    """The machines of all tasks, where they are known before the run."""
    found = [machine for step in subject.steps if (machine := _of_task(step.name, step.executor))]
    for step, pools in subject.worker_pools():
        strategy = step.inputs.get("strategy")
        is_spot = bool(strategy and strategy.value in ("SPOT", "FLEX_START"))
        quota = "custom_model_training_preemptible" if is_spot else "custom_model_training"
        found += [_of_pool(step.name, pool, quota) for pool in pools]
    for step, _, machine_type in subject.inputs("machine_type"):
        given = {name: value.value for name, value in step.inputs.items() if value.known}
        found.append(
            Machine(
                task=step.name,
                machine_type=machine_type,
                accelerator=_spelt(given.get("accelerator_type")),
                count=int(given.get("accelerator_count") or 0),
                replicas=int(given.get("min_replicas") or 1),
                quota=_serving(bool(given.get("spot"))) if "min_replicas" in step.inputs else "",
            )
        )
    return found


def serving_now(subject: Subject) -> Iterator[Machine]:
    """The machines of the endpoints that the run deploys to, which go on beside the new ones until these serve.

    The endpoint at which a model is tried has one replica, and is gone before the others start.

    Raises:
        UncheckedError: An endpoint cannot be asked for.
    """
    google, region = subject.google, subject.google.location
    for step, _, name in subject.inputs("endpoint_name"):
        if step.function != "deploy_vertex_endpoint":
            continue
        path = f"/v1/projects/{google.project}/locations/{region}/endpoints/{name}"
        found = google.ask("GET", google_cloud.endpoint("aiplatform", region), path)
        for deployed in [] if found.status == 404 else found.get().get("deployedModels", []):
            resources = deployed.get("dedicatedResources", {})
            spec = resources.get("machineSpec", {})
            yield Machine(
                task=step.name,
                machine_type=str(spec.get("machineType", "")),
                accelerator=_spelt(spec.get("acceleratorType")),
                count=int(spec.get("acceleratorCount", 0)),
                replicas=int(resources.get("minReplicaCount", 1)),
                quota=_serving(bool(resources.get("spot"))),
            )


def machines(subject: Subject) -> Iterator[Finding]:
    """Whether the region has the machine types and accelerators (Compute Engine API v1)."""
    asked, region = asked_for(subject) if subject.is_region else [], subject.google.location
    types = {machine.machine_type for machine in asked} - {""}
    accelerators = {machine.accelerator for machine in asked if not machine.accelerator.startswith("ct")} - {""}
    known = {
        kind: _places(subject.google, kind, names)
        for kind, names in (("machineTypes", types), ("acceleratorTypes", accelerators))
        if names
    }
    for kind, noun, names in (
        ("machineTypes", "machine type", types),
        ("acceleratorTypes", "accelerator", accelerators),
    ):
        for name in sorted(names):
            yield _in_region(f"{noun} {name}", known[kind].get(name, {}), region, _tasks(asked, name))
    pairs = {(machine.machine_type, machine.accelerator, machine.count) for machine in asked}
    for machine_type, accelerator, count in sorted(pairs):
        there = known.get("machineTypes", {}).get(machine_type, {})
        yield from _pairing(machine_type, accelerator, count, there.get(region, {}))


def quota(subject: Subject) -> Iterator[Finding]:
    """Whether the project's quota lets the accelerators be used (Service Usage API v1beta1)."""
    asked = asked_for(subject) if subject.is_region else []
    try:
        asked += serving_now(subject) if asked else []
    except NoCredentialsError:
        raise
    except UncheckedError as error:
        yield note("quota of what serves now", f"not counted, although it goes on until the new model serves: {error}")
    needed: Counter[tuple[str, str]] = Counter()
    for task in {machine.task for machine in asked}:
        own: Counter[tuple[str, str]] = Counter()
        for machine in asked:
            if machine.task == task and machine.accelerator and machine.quota:
                own[machine.quota, machine.accelerator] += machine.count * machine.replicas
        needed |= own  # tasks may run after each other: the largest counts
    if needed:
        subject.google.session()  # without one, nothing below can be checked
    for (first, accelerator), count in sorted(needed.items()):
        what = f"quota of {accelerator} ({first})"
        if accelerator not in _METRICS:
            yield note(what, "not checked: the name of its metric is not known here")
            continue
        metric = f"{first}_{_METRICS[accelerator]}"
        try:
            limit = _limit(subject.google, metric)
        except UncheckedError as error:
            yield note(what, f"not checked: {error}")
            continue
        region = subject.google.location
        if limit < count:
            page = f"https://console.cloud.google.com/iam-admin/quotas?project={subject.google.project}"
            fix = f"ask for {count} of aiplatform.googleapis.com/{metric} in {region} at {page}, or take another region"
            yield problem(what, f"{limit:g} in {region}, the run needs {count}", fix)
        else:
            yield ok(what, f"{limit:g} in {region}, the run needs {count}")


def _of_task(task: str, executor: dict[str, Any]) -> Machine | None:
    """What a task's own resource settings ask for; kfp 2 writes old and new fields side by side."""
    given = executor.get("container", {}).get("resources", {}).get("accelerator", {})
    kind = str(given.get("resourceType") or given.get("type") or "")
    if not kind or "{{" in kind:
        return None
    count = str(given.get("resourceCount") or given.get("count") or "1")
    return Machine(
        task=task,
        machine_type="",
        accelerator=_spelt(kind),
        count=int(count) if count.isdigit() else 1,
        replicas=1,
        quota="custom_model_training",
    )


def _of_pool(task: str, pool: dict[str, Any], quota: str) -> Machine:
    spec, replicas = pool.get("machine_spec", {}), int(pool.get("replica_count") or 1)
    machine_type, kind = str(spec.get("machine_type") or ""), _spelt(spec.get("accelerator_type"))
    tpu = re.fullmatch(r"(ct\w+)-hightpu-(\d+)t", machine_type)
    count = int(spec.get("accelerator_count") or 0)
    if tpu and not kind:
        topology = str(spec.get("tpu_topology") or "")
        chips = math.prod(map(int, topology.split("x"))) if re.fullmatch(r"\d+(x\d+)+", topology) else int(tpu[2])
        kind, count, replicas = tpu[1], chips, 1
    return Machine(task=task, machine_type=machine_type, accelerator=kind, count=count, replicas=replicas, quota=quota)


def _serving(is_spot: bool) -> str:
    return "custom_model_serving_preemptible" if is_spot else "custom_model_serving"


def _spelt(kind: Any) -> str:
    """Compute Engine's spelling of a Vertex AI accelerator type."""
    name = str(kind or "").lower().replace("_", "-")
    return "" if name == "accelerator-type-unspecified" else name


def _tasks(asked: list[Machine], name: str) -> str:
    return ", ".join(sorted({machine.task for machine in asked if name in (machine.machine_type, machine.accelerator)}))


def _places(google: Google, kind: str, names: set[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Name of a type to the regions that have it, each with the type's description."""
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
    page = ""
    for _ in range(_MOST_PAGES):
        either = " OR ".join(f'(name = "{name}")' for name in sorted(names))
        params = {"filter": either, "maxResults": "500", "pageToken": page}
        answer = google.get("compute", f"/compute/v1/projects/{google.project}/aggregated/{kind}", params).get()
        for zone, content in answer.get("items", {}).items():
            region = zone.removeprefix("zones/").rpartition("-")[0]
            for item in content.get(kind, []):
                found.setdefault(item["name"], {})[region] = item
        page = answer.get("nextPageToken", "")
        if not page:
            return found
    raise UncheckedError(f"Compute Engine lists more than {_MOST_PAGES} pages")


def _in_region(what: str, places: dict[str, Any], region: str, tasks: str) -> Finding:
    if region in places:
        return ok(what, f"Compute Engine has it in {region}")
    if not places:
        return problem(what, f"there is none of this name ({tasks})", "correct its name")
    fix = f"submit to a region that has it, e.g. {', '.join(sorted(places)[:4])}, or take another"
    return problem(what, f"{region} has none ({tasks})", fix)


def _pairing(machine_type: str, accelerator: str, count: int, description: dict[str, Any]) -> Iterator[Finding]:
    """A machine type that brings accelerators takes these and no others."""
    built_in = description.get("accelerators")
    if not built_in or accelerator.startswith("ct"):
        return
    kind, number = str(built_in[0].get("guestAcceleratorType", "")), int(built_in[0].get("guestAcceleratorCount", 0))
    if not kind.startswith("ct") and (kind, number) != (accelerator, count):
        asked = f"{count} of {accelerator}" if accelerator else "none"
        found = f"it has {number} of {kind}, and {asked} is asked for"
        yield problem(f"accelerators of {machine_type}", found, f"ask for accelerator {kind}, count {number}")


def _limit(google: Google, metric: str) -> float:
    """The least limit that holds in the region; infinity for none."""
    name = f"aiplatform.googleapis.com%2F{metric}"
    path = f"/v1beta1/projects/{google.project}/services/aiplatform.googleapis.com/consumerQuotaMetrics/{name}"
    found = []
    for limit in google.get("serviceusage", path, {"view": "FULL"}).get().get("consumerQuotaLimits", []):
        dimensions = [{}, {"region": google.location}]
        buckets = [bucket for bucket in limit.get("quotaBuckets", []) if bucket.get("dimensions", {}) in dimensions]
        if buckets:  # from the least to the most specific; JSON of Google's APIs leaves a 0 out
            value = int(max(buckets, key=lambda bucket: len(bucket.get("dimensions", {}))).get("effectiveLimit", 0))
            found.append(math.inf if value < 0 else float(value))
    if not found:
        raise UncheckedError(f"Service Usage tells no limit of {metric}")
    return min(found)
