"""Bringing a model to an InferenceService, and everything back to what it was if that fails.

A new model is first tried at a service of its own. KServe's canary alone would not do: until a new revision is ready
the controller may give it, or one before the last, all of the traffic, and in Standard mode there is no canary.

From its first change until the model has answered rightly with all of the traffic, a service has a
`canaryTrafficPercent`, at last 100; to drop it is KServe's way to promote a revision. So a step that finds one without
knows that it was tested. A label or an annotation could not say so: KServe copies them to the pods, which would start
anew.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfpc.errors import ArgumentError, EndpointError
from hfpc.progress import Reporter
from hfpc.sinks import kserve_predict, kserve_status
from hfpc.sinks.cancelling import cancellable
from hfpc.sinks.kserve_predict import Golden
from hfpc.sinks.kserve_service import (
    INFERENCE_SERVICE,
    PROGRESS_DEADLINE,
    TRIAL_OF,
    DeployKserveConfig,
    check_metric,
    is_standard,
    trial_of,
    with_canary,
)
from hfpc.sinks.kserve_status import MARK, PREVIOUS
from hfpc.sinks.kubernetes_calls import MANAGED, Namespace, check_ours, is_ours, line


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """What is to be brought where.

    Attributes:
        namespace: The namespace.
        config: The settings.
        body: The InferenceService as it shall be.
        expected: Golden requests; None for a task that has none.
    """

    namespace: Namespace
    config: DeployKserveConfig
    body: dict[str, Any]
    expected: Golden | None

    @property
    def name(self) -> str:
        """Name of the service."""
        return self.config.name


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a service.

    Attributes:
        url: Where it answers.
        previous: The label `hfpc/deployment` of what served before; "" for none.
        moved: Whether the service was changed.
    """

    url: str
    previous: str
    moved: bool


@cancellable()
def roll_out(rollout: Rollout) -> Outcome:
    """Tries, deploys, gives a share of the traffic, then all of it.

    Raises:
        EndpointError: It failed; the message says whether everything is as before.
    """
    space, wanted = rollout.namespace, kserve_status.deployment_of(rollout.body)
    found = space.get(INFERENCE_SERVICE, rollout.name)
    if found is not None:
        check_ours(INFERENCE_SERVICE, found)
        _check_mode(rollout, found)
    _check_rights(rollout, found)
    if found is not None:
        if kserve_status.deployment_of(found) == wanted and kserve_status.is_tested(found):
            return _again(rollout, found)
        if kserve_status.deployment_of(found) != wanted and kserve_status.is_begun(found):
            space.remove(INFERENCE_SERVICE, rollout.name)  # a killed step left it, with a model that was never tested
            found = None
    before = _before(found)
    try:
        served = _first(rollout) if before is None else _update(rollout, before)
    except (Exception, KeyboardInterrupt) as error:
        problem = _put_back(rollout, before)
        now = f"not everything could be put back ({problem})" if problem else "everything is as before"
        raise EndpointError(f"{line(error)}; {now}") from error
    return Outcome(
        url=kserve_status.url_of(served, rollout.config.ingress),
        previous=kserve_status.deployment_of(before) if before else "",
        moved=True,
    )


def remove_service(space: Namespace, name: str) -> bool:
    """Deletes a service and what it was tried at; whether there was one."""
    removed = space.remove(INFERENCE_SERVICE, name)
    for trial in space.list(INFERENCE_SERVICE, {**MANAGED, TRIAL_OF: name}):
        space.remove(INFERENCE_SERVICE, trial["metadata"]["name"])
    return removed


def _check_mode(rollout: Rollout, found: Mapping[str, Any]) -> None:
    mode = kserve_status.mode_of(found)
    check_metric(rollout.config.scale_metric, mode)
    if rollout.config.canary_percent and is_standard(mode):
        fix = f"give 0: {rollout.name} runs in mode {mode}, and only Knative divides traffic"
        raise ArgumentError("canary_percent", rollout.config.canary_percent, fix)


def _check_rights(rollout: Rollout, found: Any) -> None:
    """Asks before anything is changed for what is asked later on: see `_has_replaced`."""
    mode = (kserve_status.mode_of(found) if found else "") or rollout.config.deployment_mode
    if is_standard(mode):
        kserve_status.has_replaced(rollout.namespace, rollout.name)


def _before(found: Any) -> dict[str, Any] | None:
    """What a service is put back to; None where nothing was ever tested.

    Where a step was killed on its way, that is what the service was before that step.
    """
    if found is None or kserve_status.is_begun(found):
        return None
    kept = kserve_status.annotations_of(found).get(PREVIOUS)
    return {**json.loads(kept)} if kept and not kserve_status.is_tested(found) else _state(found)


def _state(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a service to restore it."""
    metadata = found["metadata"]
    annotations = {
        key: value for key, value in kserve_status.annotations_of(found).items() if key not in (PREVIOUS, MARK)
    }
    kept = {"name": metadata["name"], "labels": metadata.get("labels") or {}, "annotations": annotations}
    return {"metadata": kept, "spec": found["spec"]}


def _again(rollout: Rollout, found: Any) -> Outcome:
    """It was tested: where it is not ready for a moment it is waited for, and never taken away."""
    if not kserve_status.serves(rollout.namespace, found):
        try:
            found = _ready(rollout, rollout.name, 100)
            _check(rollout, found)
        except Exception as error:
            told = f"{rollout.name} was deployed so before, and is left as it is"
            raise EndpointError(f"{line(error)}; {told}") from error
    _tidy(rollout)
    return Outcome(url=kserve_status.url_of(found, rollout.config.ingress), previous="", moved=False)


def _first(rollout: Rollout) -> Any:
    """Nobody is served yet, so it can be tried where it will serve."""
    return _serve(rollout, None)


def _update(rollout: Rollout, before: dict[str, Any]) -> Any:
    """From the trial to all traffic."""
    config = rollout.config
    _try(rollout)
    if config.canary_percent:
        _put(rollout, with_canary(rollout.body, config.canary_percent), before)
        _watch_canary(rollout, _ready(rollout, rollout.name, config.canary_percent))
    return _serve(rollout, before)


def _serve(rollout: Rollout, before: dict[str, Any] | None) -> Any:
    """Gives a model all of the traffic, and notes that it answers rightly."""
    _put(rollout, with_canary(rollout.body, 100), before)
    served = _ready(rollout, rollout.name, 100)
    check_metric(rollout.config.scale_metric, kserve_status.mode_of(served))
    _check(rollout, served)
    _put(rollout, rollout.body, before)
    return served


def _try(rollout: Rollout) -> None:
    """Sends the golden requests to the model at a service of its own, which is removed when it has answered."""
    space, trial = rollout.namespace, trial_of(rollout.body)
    name = trial["metadata"]["name"]
    there = space.get(INFERENCE_SERVICE, name)
    if there is not None and kserve_status.deployment_of(there) != kserve_status.deployment_of(trial):
        space.remove(INFERENCE_SERVICE, name)  # a killed step left it, with another model
    space.put(INFERENCE_SERVICE, trial)
    served = _ready(rollout, name, 100)
    _check(rollout, served)
    space.remove(INFERENCE_SERVICE, name)


def _check(rollout: Rollout, served: Mapping[str, Any]) -> None:
    """Sends the golden requests to a service."""
    url = kserve_status.url_of(served, rollout.config.ingress)
    kserve_predict.check(rollout.config, url, rollout.expected, rollout.namespace.patience)


def _put(rollout: Rollout, body: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Makes the service what `body` says, and notes what it was before."""
    space = rollout.namespace
    found = space.get(INFERENCE_SERVICE, rollout.name)
    notes = {} if before is None else {PREVIOUS: json.dumps(before, sort_keys=True)}
    if found is not None:
        # The mark stays where only the traffic changes: that makes no revision.
        same = _template(found) == _template(body)
        notes[MARK] = kserve_status.marked_in(found) if same else kserve_status.mark_of(found)
    metadata = body["metadata"]
    annotations = {**metadata["annotations"], **{key: value for key, value in notes.items() if value}}
    space.put(INFERENCE_SERVICE, {**body, "metadata": {**metadata, "annotations": annotations}})


def _template(body: Mapping[str, Any]) -> tuple[str, str]:
    """What makes another revision when it changes."""
    return kserve_status.deployment_of(body), kserve_status.annotations_of(body).get(PROGRESS_DEADLINE, "")


def _ready(rollout: Rollout, name: str, percent: int) -> Any:
    """The service once the newest revision has its share of the traffic.

    Raises:
        EndpointError: It cannot be loaded, or took too long.
    """
    space, limit = rollout.namespace, rollout.config.ready_seconds
    reporter, told = Reporter(f"seconds until {name} serves"), "its controller has said nothing"
    for waited in space.patience.polls(limit):
        found = space.get(INFERENCE_SERVICE, name)
        if found is None:
            raise EndpointError(f"{name} was deleted meanwhile")
        if kserve_status.serves(space, found, percent):
            return found
        if kserve_status.mark_of(found) != kserve_status.marked_in(found):
            kserve_status.check_loading(name, found)
        told = kserve_status.told_by(found) or told
        reporter.update(round(waited), told)
    raise EndpointError(f"{name} was not ready after {limit:g} seconds: {told}")


def _watch_canary(rollout: Rollout, served: Mapping[str, Any]) -> None:
    """Sends the golden requests to the new revision while it has its share."""
    config, patience = rollout.config, rollout.namespace.patience
    url = kserve_status.revision_url(served, config.ingress)
    reporter = Reporter("seconds of canary", total=round(config.canary_seconds))
    start = time.monotonic()
    while (passed := time.monotonic() - start) < config.canary_seconds:
        if url:
            kserve_predict.check(config, url, rollout.expected, patience)
        reporter.update(round(passed), f"{config.canary_percent} % of the traffic")
        time.sleep(min(patience.pause, config.canary_seconds))


def _put_back(rollout: Rollout, before: dict[str, Any] | None) -> str:
    """Restores the service and removes what was made; what could not be done, "" for nothing."""
    space = rollout.namespace

    def restore() -> None:
        found = space.get(INFERENCE_SERVICE, rollout.name)
        if before is None:
            if found is not None:
                space.remove(INFERENCE_SERVICE, rollout.name)
            return
        if found is None:
            raise EndpointError(f"{rollout.name} was deleted meanwhile")
        if _changed(found) != _changed(before):
            _restore(rollout, found, before)

    problems = []
    for step in (restore, lambda: space.remove(INFERENCE_SERVICE, trial_of(rollout.body)["metadata"]["name"])):
        try:
            step()
        except Exception as error:
            problems.append(line(error))
    return "; ".join(problems)


def _changed(body: Mapping[str, Any]) -> tuple[str, Any]:
    """What tells a service that was changed from one that was not."""
    return kserve_status.deployment_of(body), body["spec"]["predictor"].get("canaryTrafficPercent")


def _restore(rollout: Rollout, found: Any, before: dict[str, Any]) -> None:
    """Makes a service what it was.

    Without a share, KServe would give all of the traffic to the newest revision that is ready, which is the one that
    failed, until what served before is loaded again. So that is loaded without traffic, where another one has it.
    """
    space, metadata = rollout.namespace, before["metadata"]
    if kserve_status.deployment_of(found) != kserve_status.deployment_of(before):
        found = _seen(rollout, found)
        notes = {PREVIOUS: json.dumps(before, sort_keys=True), MARK: kserve_status.mark_of(found)}
    else:
        notes = {key: value for key, value in kserve_status.annotations_of(found).items() if key in (PREVIOUS, MARK)}
    body = {**before, "metadata": {**metadata, "annotations": {**metadata["annotations"], **notes}}}
    if kserve_status.is_divided(found):
        space.put(INFERENCE_SERVICE, with_canary(body, 0))
        _ready(rollout, rollout.name, 0)
    space.put(INFERENCE_SERVICE, body)
    _ready(rollout, rollout.name, before["spec"]["predictor"].get("canaryTrafficPercent", 100))


def _seen(rollout: Rollout, found: Any) -> Any:
    """The service once its controller has seen the last change: before, KServe mistakes one for the one before it."""
    for _ in rollout.namespace.patience.polls(rollout.config.ready_seconds):
        if found is None or kserve_status.mark_of(found) != kserve_status.marked_in(found):
            break
        found = rollout.namespace.get(INFERENCE_SERVICE, rollout.name)
    if found is None:
        raise EndpointError(f"{rollout.name} was deleted meanwhile")
    return found


def _tidy(rollout: Rollout) -> None:
    """Takes away the trials that a killed step left."""
    space = rollout.namespace
    for trial in space.list(INFERENCE_SERVICE, {**MANAGED, TRIAL_OF: rollout.name}):
        if is_ours(trial):
            space.remove(INFERENCE_SERVICE, trial["metadata"]["name"])
