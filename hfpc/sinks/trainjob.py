"""Fine-tuning on several nodes of a cluster: a TrainJob of Kubeflow Trainer that runs the same code as `finetune`.

The job is made through the Kubernetes client and not through the SDK `kubeflow`: its trainer for a container takes no
command, and its client names jobs at random, so that a call whose answer was lost could not be found again.
"""

import hashlib
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hfpc import manifest, storage
from hfpc.errors import ArgumentError, DataError, HfpcError
from hfpc.manifest import Manifest
from hfpc.progress import Reporter
from hfpc.sinks.kubernetes_calls import (
    Kind,
    Namespace,
    check_ours,
    may_pass,
    namespace,
    reaching,
)
from hfpc.sinks.patience import Patience
from hfpc.sinks.trainjob_pods import why_not_started
from hfpc.sinks.trainjob_spec import FinetuneTrainjobConfig, extra_settings, train_job, training_image

__all__ = ["FinetuneTrainjobConfig", "TrainedModel", "extra_settings", "location", "train", "train_job"]

TRAIN_JOB = Kind("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob", "Kubeflow Trainer 2.2 or later")
_LONGEST_CHECK = 600.0  # seconds


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """What a job left.

    Attributes:
        job: Name of the job.
        uri: Folder of the model.
        curves: URI of the page with the curves.
        record: What the model says of itself.
    """

    job: str
    uri: str
    curves: str
    record: Manifest

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of its artifact."""
        assert self.record.model is not None
        model = self.record.model
        return {
            "artifact_uri": self.uri,
            "curves": self.curves,
            "base_model": model.base_model,
            "revision": model.revision,
            "fingerprint": model.fingerprint,
        }

    def fetch(self, folder: str) -> None:
        """Copies the model to a folder, for steps that read it there.

        Raises:
            ArgumentError: The store refused.
        """
        storage.download(self.uri, Path(folder), "output_uri")

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics on the validation rows."""
        assert self.record.model is not None
        return dict(self.record.model.metrics)


def location(uri: str) -> str:
    """The URI of an artifact as nodes read it: Kubeflow's own store speaks S3."""
    return storage.store_uri(uri)


def train(
    tokenized: str, settings: Mapping[str, Any], config: FinetuneTrainjobConfig, patience: Patience | None = None
) -> TrainedModel:
    """Runs a fine-tuning as a TrainJob and waits for it.

    Called again with the same arguments it waits for the job that runs, or gives what that job made. A job that
    fails, does not start or end in time, or whose wait is interrupted (KeyboardInterrupt) is deleted. A job that the
    cluster does not answer for goes on, and so does that of a step that was killed: the same call finds it, and where
    none comes, the cluster itself ends it at `total_seconds`, counted from when it was made or, suspended, from when
    it was resumed.

    Args:
        tokenized: URI of a tokenized data set that all nodes reach.
        settings: Settings of the fine-tuning, by name; see `FinetuneConfig`.
        config: Where it runs.
        patience: How long is waited; None takes the defaults.

    Raises:
        ArgumentError: An argument cannot be used.
        HfpcError: The training failed, with its reason, or the cluster refused or did not answer for minutes.
    """
    if not re.fullmatch("(gs|s3)://.+", tokenized):
        raise ArgumentError("tokenized", tokenized, "give a data set in a store that all nodes reach, gs://… or s3://…")
    if config.restarts and not settings.get("checkpoint_uri"):
        raise ArgumentError("restarts", config.restarts, "give a checkpoint_uri to go on from, or 0")
    _check_settings(settings)
    key = _key(tokenized, settings, config)
    out = f"{config.output_uri.rstrip('/')}/{key}"
    name = f"{config.name}-{key[:10]}"
    if _record(out) is None:
        space = namespace(config.namespace, patience)
        with reaching(f"training {name}", TRAIN_JOB):
            _run(space, train_job(name, key, tokenized, out, settings, config), out, config)
    record = _record(out)
    if record is None:
        raise HfpcError(f"{name} is complete but wrote no model to {out}/model: see the log of its node 0")
    return TrainedModel(job=name, uri=f"{out}/model", curves=f"{out}/curves.html", record=record)


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Raises HfpcError where the settings cannot be used: here, and not on nodes that are paid for.

    It is training's own code that says so, in a process of its own, as a sink knows no training.
    """
    command = [sys.executable, "-m", "hfpc.training.node", "--check", json.dumps(dict(settings))]
    try:
        done = subprocess.run(  # noqa: S603 no shell
            command, capture_output=True, text=True, check=False, timeout=_LONGEST_CHECK
        )
    except subprocess.TimeoutExpired as error:
        raise HfpcError(
            f"the settings were not checked within {_LONGEST_CHECK:g} seconds: run the step again"
        ) from error
    if done.returncode:
        raise HfpcError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "the settings cannot be used")


def _key(tokenized: str, settings: Mapping[str, Any], config: FinetuneTrainjobConfig) -> str:
    """What tells a training from others: its data, its settings, and all that runs it."""
    apart = ("name", "output_uri", "restarts", "start_seconds", "total_seconds")  # say nothing of the training
    place = {**asdict(config), "image": training_image(config), **dict.fromkeys(apart)}
    text = json.dumps([tokenized, dict(settings), place], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _run(space: Namespace, body: dict[str, Any], out: str, config: FinetuneTrainjobConfig) -> None:
    """Makes the job and waits for it, and again as often as it may be restarted."""
    name, start = body["metadata"]["name"], time.monotonic()
    for left in range(config.restarts, -1, -1):
        rest = round(config.total_seconds - (time.monotonic() - start), 3)
        _make(space, body, out, rest)
        try:
            failed = _wait(space, name, rest, out, config.start_seconds)
        except (_OverdueError, KeyboardInterrupt):
            _give_up(space, name)
            raise
        if not failed:
            return
        told, is_reason = _told_by_nodes(out)
        space.remove(TRAIN_JOB, name)
        if is_reason or not left or failed.startswith("DeadlineExceeded"):
            raise HfpcError(f"{name} failed: {told or failed}")
        print(f"{name} failed ({failed}): it goes on from its checkpoint, {left} restarts left", flush=True)


class _OverdueError(HfpcError):
    """A job took longer than it may."""


def _make(space: Namespace, body: dict[str, Any], out: str, seconds: float) -> None:
    """Makes the job unless it is there.

    One that has failed, in a step that was killed, is made anew, and so is one that is complete, but what it wrote is
    gone.
    """
    name = body["metadata"]["name"]
    found = space.get(TRAIN_JOB, name)
    if found is not None:
        check_ours(TRAIN_JOB, found)
        gone = _condition(found, "Complete") and _record(out) is None
        if not _condition(found, "Failed") and not gone:
            return
        space.remove(TRAIN_JOB, name)
    _forget_failures(out)
    # Whatever becomes of this process, the cluster ends what it pays for.
    space.put(TRAIN_JOB, {**body, "spec": {**body["spec"], "activeDeadlineSeconds": max(1, math.ceil(seconds))}})


def _give_up(space: Namespace, name: str) -> None:
    """Deletes the job; where that fails too, the first error matters more."""
    try:
        space.remove(TRAIN_JOB, name)
    except Exception as error:
        told = f"{name} could not be deleted ({type(error).__name__}): the cluster ends it at its deadline"
        print(told, flush=True)


def _wait(space: Namespace, name: str, seconds: float, out: str, start_seconds: float) -> str:
    """Waits until a job ends; "" for success, else what the cluster says. Looks may fail for minutes.

    A job whose nodes have told a reason has failed too: the cluster would start their pods again and again, up to the
    `backoffLimit` of the runtime (6 where it says none), and each would end with the same. A job whose nodes cannot
    start, as where an image is not there or no machine is free, does not fail by itself.
    """
    reporter = Reporter(f"seconds of {name}")
    found: dict[str, Any] = {}
    seen = held = 0.0
    has_started = False
    for waited in space.patience.polls(seconds):
        try:
            found = space.get(TRAIN_JOB, name)
        except Exception as error:
            if may_pass(error) and waited - seen < space.patience.unseen:
                continue
            # The job is worth days: it stays for the next step.
            with reaching(f"looking at {name}, which goes on (run the step again to wait for it)", TRAIN_JOB):
                raise
        seen = waited
        if found is None:
            raise HfpcError(f"{name} was deleted meanwhile")
        if _condition(found, "Complete"):
            return ""
        if failed := _condition(found, "Failed"):
            return " ".join(f"{failed.get('reason', '')}: {failed.get('message', '')}".split())[:500]
        with suppress(HfpcError):  # of the store, which the next look may reach
            if _told_by_nodes(out)[1]:
                return "a node told why"
        has_started = has_started or _runs(found)
        if _condition(found, "Suspended"):
            held = waited
        if not has_started and waited - held > start_seconds:
            reason = why_not_started(space, name)
            raise _OverdueError(f"{name} did not start within start_seconds={start_seconds:g}: {reason}")
        reporter.update(round(waited), _told(found))
    raise _OverdueError(f"{name} did not end within {seconds:g} seconds: {_told(found)}")


def _condition(found: Mapping[str, Any], kind: str) -> dict[str, Any]:
    conditions = found.get("status", {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), {})


def _runs(found: Mapping[str, Any]) -> bool:
    """Whether all nodes of a job run."""
    jobs = found.get("status", {}).get("jobsStatus") or []
    return any(each["name"] == "node" and each.get("ready") for each in jobs)


def _told(found: Mapping[str, Any]) -> str:
    """The job's state, in one line."""
    if _condition(found, "Suspended"):
        return "suspended, as where a queue has no room yet"
    for each in found.get("status", {}).get("jobsStatus") or []:
        counts = [f"{each[key]} {key}" for key in ("active", "ready", "succeeded", "failed") if each.get(key)]
        if each["name"] == "node" and counts:
            return ", ".join(counts)
    return "waiting for its nodes"


def _record(out: str) -> Manifest | None:
    """What the model that a job wrote says of itself; None where there is none yet."""
    uri = f"{out}/model/{manifest.FILE_NAME}"
    with storage.reaching(uri, "output_uri"), tempfile.TemporaryDirectory() as scratch:
        store, path = storage.filesystem(uri, "output_uri")
        store.invalidate_cache()
        if not store.exists(path):
            return None
        store.get_file(path, f"{scratch}/{manifest.FILE_NAME}")
        try:
            return manifest.read(Path(scratch), "model")
        except DataError as error:
            raise ArgumentError("output_uri", out, f"something else lies there ({error})") from error


def _forget_failures(out: str) -> None:
    for store, path in _failures(out):
        store.rm_file(path)


def _told_by_nodes(out: str) -> tuple[str, bool]:
    """What a node said of its failure, in one line, "" where none did; and whether it is a reason, not a loss.

    A node that only lost another, or did not meet it, may go on when it is started again.
    """
    texts = [" ".join(store.cat_file(path).decode(errors="replace").split()) for store, path in _failures(out)]
    texts.sort(key=_is_loss)
    return (texts[0][:1000], not _is_loss(texts[0])) if texts else ("", False)


def _is_loss(text: str) -> bool:
    return "lost another process" in text or "did not meet" in text


def _failures(out: str) -> list[tuple[Any, str]]:
    uri = f"{out}/failures"
    with storage.reaching(uri, "output_uri"):
        store, path = storage.filesystem(uri, "output_uri")
        store.invalidate_cache()
        return [(store, each) for each in sorted(store.find(path))] if store.exists(path) else []
