"""Kubeflow Trainer over loopback: a job's nodes are processes that train a tiny model together."""

import itertools
import json
import os
import re
import signal
from dataclasses import replace

import pytest

from hfpc import progress, storage
from hfpc.errors import ArgumentError, HfpcError
from hfpc.sinks.kubernetes_calls import namespace
from hfpc.sinks.patience import Patience
from hfpc.sinks.trainjob import TRAIN_JOB, FinetuneTrainjobConfig, _key, train, train_job
from hfpc.sinks.trainjob_pods import why_not_started
from hfpc.training import node
from tests.cloud import kubernetes_schema
from tests.cloud.faults import KINDS
from tests.cloud.kubernetes_trainer import BACKOFF_LIMIT
from tests.sinks.kserve_place import told_by

pytest.importorskip("kubernetes")

QUICK = Patience(call=10.0, total=120.0, pause=0.01, retry=0.001, settle=0.01, attempts=3)
WAITING = Patience(call=10.0, total=300.0, pause=0.3, retry=0.01, settle=0.01, attempts=3)
SETTINGS = {"epochs": 1.0, "batch_size": 16, "extra": {"save_steps": 2}}


def job(**changes) -> FinetuneTrainjobConfig:
    return FinetuneTrainjobConfig(**{"name": "tweets", "output_uri": "gs://training/out", **changes})


@pytest.fixture
def data(google_cloud, tokenized):
    """URI of a tokenized data set."""
    google_cloud.make_bucket("training")
    return google_cloud.upload(tokenized, "gs://training/tokenized")


@pytest.fixture
def done(cluster, model):
    """Lets jobs end at once, with a model that is there; their arguments, as they end."""
    ended: list[list[str]] = []

    def finish(arguments):
        ended.append(arguments)
        storage.upload(model, f"{arguments[1]}/model")
        return ""

    cluster.trainer.finish = finish
    return ended


def write(uri: str, text: str) -> None:
    store, path = storage.filesystem(uri)
    store.pipe_file(path, text.encode())


def steps_of_node_0(folder) -> list[list[int]]:
    """The steps that node 0 of each job told of, in the order of the jobs."""
    logs = sorted(folder.glob("*-0/log.txt"), key=lambda file: file.parent.stat().st_mtime)
    lines = [[progress.parse(line) for line in log.read_text(errors="replace").splitlines()] for log in logs]
    return [[each.done for each in told if each and each.what == "training"] for told in lines]


@pytest.mark.slow
@pytest.mark.parametrize("backoff_limit", [0, BACKOFF_LIMIT], ids=["in_a_new_job", "in_place"])
def test_two_nodes_train_together_and_go_on_after_they_were_lost(cluster, data, google_cloud, backoff_limit):
    checkpoints = f"gs://training/checkpoints-{backoff_limit}"
    settings = {**SETTINGS, "epochs": 3.0, "checkpoint_uri": checkpoints}
    place = job(nodes=2, restarts=0 if backoff_limit else 1)
    trainer = cluster.trainer
    advance, killed = trainer.advance, []
    trainer.backoff_limit, trainer.started = backoff_limit, 0
    before = set(trainer.folder.iterdir())

    def lose_once(found):
        """Takes both nodes away once there is a complete checkpoint."""
        marker = re.compile(rf"{checkpoints.removeprefix('gs://training/')}/[^/]+/checkpoint-\d+\.json")
        if not killed and any(map(marker.fullmatch, google_cloud.objects("training"))):
            killed.append(True)
            trainer.kill()
        advance(found)

    trainer.advance = lose_once
    try:
        trained = train(data, settings, place, WAITING)
    except HfpcError as error:
        raise AssertionError(f"{error}\n{trainer.logs()}") from error
    finally:
        trainer.advance, trainer.backoff_limit = advance, BACKOFF_LIMIT
    assert killed and trainer.started == 4
    assert trained.record.model is not None and trained.record.model.metrics
    assert f"{trained.uri.removeprefix('gs://training/')}/model.safetensors" in google_cloud.objects("training")
    assert len(set(trainer.folder.iterdir()) - before) == (2 if backoff_limit else 4), "homes of nodes, two a job"
    told = [step for steps in steps_of_node_0(trainer.folder)[-1 if backoff_limit else -2 :] for step in steps]
    assert told[0] == 1 and told.count(1) == 1, trainer.logs()
    assert train(data, settings, place, WAITING) == trained and trainer.started == 4


@pytest.mark.slow
def test_why_nodes_could_not_train_is_told_in_one_line(cluster, google_cloud):
    google_cloud.make_bucket("training")
    cluster.trainer.started = 0
    with pytest.raises(HfpcError, match=r"tweets-\w+ failed: tokenized='gs://training/nothing'.*nothing at this"):
        train("gs://training/nothing", SETTINGS, job(), WAITING)
    assert cluster.api.objects == {}
    assert cluster.trainer.started <= 2, "the cluster starts nodes again in place, which are stopped then"


@pytest.mark.parametrize(
    ("told", "makes"),
    [
        ("node 1 did not meet all 2 nodes at tweets-0:29500 (timed out)", 2),
        ("rank 0 lost another process (Connection reset)", 2),
        ("rank 0 failed: dtype='int3'", 1),
    ],
)
def test_only_a_reason_ends_the_restarts(cluster, data, told, makes):
    made = []

    def finish(arguments):
        made.append(arguments[1])
        write(f"{arguments[1]}/failures/node-1.txt", told)
        return "jobset failed"

    cluster.trainer.finish = finish
    settings = {**SETTINGS, "checkpoint_uri": "gs://training/checkpoints", "seed": makes}
    with pytest.raises(HfpcError) as caught:
        train(data, settings, job(nodes=2, restarts=1), QUICK)
    assert str(caught.value).endswith(f"failed: {told}") and len(made) == makes
    assert cluster.api.objects == {}


def test_a_job_whose_node_has_told_its_reason_is_not_waited_for(cluster, data):
    """The cluster would start its pods again, and again."""
    looks = []

    def advance(found):
        looks.append(True)
        write(f"{found['spec']['trainer']['args'][1]}/failures/node-0.txt", "rank 0 failed: no such column")

    usual, cluster.trainer.advance = cluster.trainer.advance, advance
    try:
        with pytest.raises(HfpcError, match="failed: rank 0 failed: no such column"):
            train(data, {**SETTINGS, "seed": 104}, job(), QUICK)
    finally:
        cluster.trainer.advance = usual
    assert looks and cluster.api.objects == {}


def test_what_is_made(cluster, data, done):
    trained = train(data, SETTINGS, job(nodes=2, processes_per_node=4, resources={"nvidia.com/gpu": "4"}), QUICK)
    ((key, made),) = cluster.api.objects.items()
    assert key == ("trainjobs", "team", trained.job)
    trainer = made["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"], trainer["args"][3]) == (2, 4, "8")
    assert "/hfpc-python-gpu:" in trainer["image"]
    assert made["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "hfpc"
    assert done == [trainer["args"]]
    assert cluster.api.unknown_requests == []


def test_every_field_is_one_that_the_definition_has(cluster):
    config = job(
        nodes=3,
        service_account="trainer",
        node_selector={"cloud.google.com/gke-spot": "true"},
        environment={"NCCL_DEBUG": "INFO"},
    )
    body = train_job("tweets-1", "key", "gs://a/b", "gs://c/d", SETTINGS, config)
    assert kubernetes_schema.unknown_fields("trainjobs", body) == []
    assert kubernetes_schema.invalid("trainjobs", body) == ""
    token = {"secretKeyRef": {"name": "huggingface", "key": "HF_TOKEN", "optional": True}}
    assert {"name": "HF_TOKEN", "valueFrom": token} in body["spec"]["trainer"]["env"]
    (patch,) = body["spec"]["runtimePatches"]
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template = replicated["template"]["spec"]["template"]
    assert template["metadata"]["labels"] == {"sidecar.istio.io/inject": "false"}, "or nodes do not meet"
    pod = template["spec"]
    assert [each["key"] for each in pod["tolerations"]] == ["nvidia.com/gpu", "cloud.google.com/gke-spot"]
    assert pod["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/dev/shm"
    body["spec"]["trainer"]["replicas"] = 2
    assert kubernetes_schema.unknown_fields("trainjobs", body) == ["spec.trainer.replicas"]
    from kubeflow_trainer_api import models  # the SDK's own, made of the same definition

    del body["spec"]["trainer"]["replicas"]
    read = models.TrainerV1alpha1TrainJob.from_dict({**body, "kind": "TrainJob", "apiVersion": "x"})
    assert read.to_dict()["spec"] == body["spec"]


def test_a_runtime_that_is_not_there(cluster, data):
    with pytest.raises(HfpcError, match=r'training tweets-\w+: admission webhook .* "other" not found'):
        train(data, SETTINGS, job(runtime="other"), QUICK)
    assert cluster.api.objects == {}


def test_a_job_that_does_not_end_is_deleted(cluster, data):
    cluster.api.controllers["trainjobs"].finish = lambda arguments: ""
    with pytest.raises(HfpcError, match=r"did not end within 0\.001 seconds: waiting for its nodes"):
        train(data, SETTINGS, job(total_seconds=0.001), QUICK)
    assert cluster.api.objects == {}


PULLING = "Back-off pulling image: not found"
PENDING = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes have a GPU"}
CONTAINER = {"name": "node", "image": "i", "imageID": "", "ready": False, "restartCount": 0}


def container(reason, message=""):
    return {"containerStatuses": [{**CONTAINER, "state": {"waiting": {"reason": reason, "message": message}}}]}


def looked_at(name="tweets-0123456789", nodes=1):
    """The namespace with a job that its controller has looked at."""
    space = namespace(patience=QUICK)
    space.put(TRAIN_JOB, train_job(name, "key", "gs://a/b", "gs://c/d", SETTINGS, job(nodes=nodes)))
    space.get(TRAIN_JOB, name)
    return space


def test_a_job_whose_nodes_do_not_start_is_deleted_and_why_is_told(cluster, data):
    cluster.trainer.obstacle = container("ImagePullBackOff", PULLING)
    with pytest.raises(HfpcError, match=r"tweets-\w+ did not start within start_seconds=0\.1: ImagePull.*not found$"):
        train(data, SETTINGS, job(start_seconds=0.1, total_seconds=60.0), QUICK)
    assert cluster.api.objects == {} and cluster.api.unknown_requests == []


def test_why_nodes_do_not_start(cluster):
    name = "tweets-0123456789"
    for obstacle, told in (
        (container("ImagePullBackOff", PULLING), f"ImagePullBackOff: {PULLING}"),
        ({"conditions": [PENDING]}, "Unschedulable: 0/3 nodes have a GPU"),
    ):
        cluster.api.reset()
        cluster.trainer.obstacle = obstacle
        assert why_not_started(looked_at(), name) == told
    cluster.api.forbidden.add("pods")
    place = "kubectl --namespace team describe"
    look = f"see `{place} trainjob {name}` and `{place} pods --selector jobset.sigs.k8s.io/jobset-name={name}`"
    assert why_not_started(looked_at(), name) == look, "the caller may not read pods"
    cluster.api.reset()
    cluster.trainer.obstacle = container("ContainerCreating")
    assert why_not_started(looked_at(), name) == look, "nothing says why"


@pytest.mark.parametrize("nodes", [1, 10, 11, 101])
def test_the_longest_name_is_one_whose_pods_the_cluster_takes(cluster, nodes):
    longest = 38 - len(str(nodes - 1))
    assert job(name="a" * longest, nodes=nodes)
    with pytest.raises(ArgumentError, match=f"at most {longest}"):
        job(name="a" * (longest + 1), nodes=nodes)
    cluster.trainer.finish = lambda arguments: ""
    looked_at(f"{'a' * longest}-0123456789", nodes)
    assert cluster.trainer.events("team") == []
    longer = f"{'a' * (longest + 1)}-0123456789"
    told = why_not_started(looked_at(longer, nodes), longer)
    assert told.startswith("TrainJobResourcesCreationFailed: ") and told.endswith("will exceed 63 characters")


@pytest.mark.parametrize("first", ["in_a_queue", "running"])
def test_only_nodes_that_never_ran_are_late(cluster, data, done, first):
    """A queue may hold a job back for days, and lost nodes are waited for."""
    looks, usual = [], cluster.trainer.advance
    held = [{"type": "Suspended", "status": "True", "reason": "Suspended", "message": ""}]

    def advance(found):
        looks.append(True)
        found["status"]["conditions"] = held if first == "in_a_queue" and len(looks) < 30 else []
        ready = int(first == "running" and len(looks) == 1)
        found["status"]["jobsStatus"] = [{"name": "node", "active": 1, "ready": ready}]
        if len(looks) == 30:
            cluster.trainer.finish(found["spec"]["trainer"]["args"])
            found["status"]["conditions"] = [{"type": "Complete", "status": "True", "reason": "", "message": ""}]

    cluster.trainer.advance = advance
    try:
        seed = 106 if first == "running" else 107
        assert train(data, {**SETTINGS, "seed": seed}, job(start_seconds=0.1), QUICK).record.model
    finally:
        cluster.trainer.advance = usual
    assert len(looks) == 30


def test_a_job_that_ends_without_a_model(cluster, data):
    cluster.api.controllers["trainjobs"].finish = lambda arguments: ""
    with pytest.raises(HfpcError, match="is complete but wrote no model to gs://training/out/"):
        train(data, {**SETTINGS, "seed": 7}, job(), QUICK)


def test_looks_may_fail_for_long(cluster, data, done):
    cluster.api.faults.plan(2, "error", 40, method="GET trainjobs")
    train(data, {**SETTINGS, "seed": 102}, job(), QUICK)
    assert cluster.api.faults.calls.count("POST trainjobs") == 1 and len(done) == 1
    assert "DELETE trainjobs" not in cluster.api.faults.calls


def test_a_job_that_the_cluster_does_not_answer_for_goes_on(cluster, data, done):
    settings = {**SETTINGS, "seed": 101}
    cluster.api.faults.plan(2, "error", 10**6, method="GET trainjobs")
    with pytest.raises(HfpcError, match=r"looking at tweets-\w+, which goes on \(run the step again to wait for it\)"):
        train(data, settings, job(), replace(QUICK, unseen=0.1))
    ((_, _, name),) = cluster.api.objects
    cluster.api.faults.clear()
    assert train(data, settings, job(), QUICK).job == name
    assert set(cluster.api.faults.calls) == {"GET trainjobs"} and len(done) == 1


def test_a_job_whose_wait_is_interrupted_is_deleted(cluster, data):
    interrupted = []

    def finish(arguments):
        if not interrupted:
            interrupted.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return ""

    cluster.trainer.finish = finish
    with pytest.raises(KeyboardInterrupt):
        train(data, {**SETTINGS, "seed": 103}, job(), QUICK)
    assert cluster.api.objects == {}


def test_the_cluster_itself_ends_a_job_that_nobody_waits_for(cluster, data):
    cluster.trainer.finish = lambda arguments: "lost"
    seconds = []
    check = cluster.trainer.check

    def read(body):
        seconds.append(body["spec"]["activeDeadlineSeconds"])
        return check(body)

    cluster.trainer.check = read
    try:
        with pytest.raises(HfpcError, match="failed: JobSetFailed: lost"):
            train(data, {**SETTINGS, "checkpoint_uri": "gs://training/c"}, job(restarts=1, total_seconds=900), QUICK)
    finally:
        cluster.trainer.check = check
    assert len(seconds) == 2 and 0 < seconds[1] <= seconds[0] <= 900


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "My job"}, "name='My job'"),
        ({"name": "a" * 38}, "at most 37"),
        ({"name": "a" * 37, "nodes": 16}, "at most 36"),
        ({"start_seconds": 0}, "start_seconds=0"),
        ({"output_uri": "/mnt/out"}, "output_uri='/mnt/out'"),
        ({"nodes": 0}, "nodes=0"),
        ({"processes_per_node": 0}, "processes_per_node=0"),
        ({"resources": {"cpu": "many"}}, "resources="),
        ({"restarts": -1}, "restarts=-1"),
        ({"environment": {"HF_TOKEN": "hf_abc"}}, "no secret"),
        ({"environment": {"NCCL DEBUG": "INFO"}}, "begin with a letter"),
        ({"secrets": {"HF_TOKEN": "hf_abc"}}, "secrets='HF_TOKEN': give VARIABLE: SECRET/KEY"),
        ({"tolerations": [{"taint": "gpu"}]}, "tolerations="),
        ({"shared_memory": "much"}, "resources="),
        ({"total_seconds": 0}, "total_seconds=0"),
    ],
)
def test_what_cannot_be_used_is_told_before_any_call(change, told):
    with pytest.raises(ArgumentError) as caught:
        job(**change)
    assert told in str(caught.value) and "hf_abc" not in str(caught.value)


def test_what_training_cannot_use_is_told_before_a_job_is_made(cluster, data):
    with pytest.raises(HfpcError, match=r"epochs=-1"):
        train(data, {**SETTINGS, "epochs": -1}, job(), QUICK)
    with pytest.raises(ArgumentError, match="restarts=1: give a checkpoint_uri"):
        train(data, SETTINGS, job(restarts=1), QUICK)
    with pytest.raises(ArgumentError, match="tokenized='/tmp/data'"):
        train("/tmp/data", SETTINGS, job(), QUICK)
    assert cluster.api.faults.calls == []


@pytest.mark.slow
def test_every_call_may_fail(cluster, data, done, google_cloud):
    faults = cluster.api.faults

    def step(number):
        return train(data, {"seed": number}, job(), QUICK)

    step(0)
    calls, failed, injected = list(faults.calls), 0, faults.injected
    cases = [*((kind, 1) for kind in (*KINDS, "throttled")), ("error", QUICK.attempts), ("lost", QUICK.attempts)]
    for number, (index, (kind, times)) in enumerate(itertools.product(range(len(calls)), cases), 1):
        cluster.api.reset()
        faults.plan(index, kind, times)
        where = (index, calls[index], kind, times)
        error = told_by(lambda: step(number))  # noqa: B023 called at once
        assert times > 1 or not error, (where, error)
        failed += bool(error)
        assert len(cluster.api.objects) <= 1 and (error or cluster.api.objects), (where, error)
        faults.clear()
        made = step(number)
        assert made.record.model is not None, where
        assert set(cluster.api.objects) == {("trainjobs", "team", made.job)}, where
        assert [json.loads(each[2])["seed"] for each in done].count(number) == 1, where  # trained once
    print(f"{faults.injected - injected} faults in {len(calls)} calls of a training, {failed} steps failed")
    assert failed


def test_all_that_runs_a_training_tells_it_from_others():
    changes = [
        {},
        {"resources": {"nvidia.com/gpu": "1"}},
        {"runtime": "other"},
        {"service_account": "trainer"},
        {"node_selector": {"a": "b"}},
        {"secrets": {}},
        {"tolerations": []},
        {"shared_memory": ""},
    ]
    keys = {_key("gs://a/b", SETTINGS, job(**change)) for change in changes}
    assert len(keys) == len(changes)
    assert _key("gs://a/b", SETTINGS, job(name="other", restarts=3, total_seconds=9)) in keys


def test_a_complete_job_whose_output_is_gone_is_made_again(cluster, data, done, google_cloud):
    settings = {**SETTINGS, "seed": 105}
    first = train(data, settings, job(), QUICK)
    store, path = storage.filesystem(first.uri)
    store.rm(path, recursive=True)
    assert train(data, settings, job(), QUICK) == first and len(done) == 2


def test_a_node_that_is_started_again_takes_away_what_it_said(tmp_path):
    for rank in (0, 1):
        (tmp_path / "failures").mkdir(exist_ok=True)
        (tmp_path / "failures" / f"node-{rank}.txt").write_text("rank 0 lost another process")
    with pytest.raises(json.JSONDecodeError):  # no failure that it tells of: it stands for the loss of the machine
        node.train("gs://training/tokenized", str(tmp_path), "not JSON", 1)
    assert [each.name for each in (tmp_path / "failures").iterdir()] == ["node-1.txt"]
