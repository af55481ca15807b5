"""Who calls AWS: the official clients against loopback services."""

import subprocess
import sys

import pytest

from hfpc import aws, storage
from hfpc.errors import ArgumentError, HfpcError

ROLE = "arn:aws:iam::123456789012:role/{}"


@pytest.fixture
def on_vertex(amazon, monkeypatch, tmp_path):
    """A machine without AWS keys that runs as a Google service account."""
    pytest.importorskip("cryptography")
    from tests.cloud.identity_tokens import service_account

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with service_account(tmp_path) as file:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        yield amazon


def test_the_region_is_the_given_one_or_the_environments(amazon, monkeypatch):
    assert aws.region("eu-west-1") == "eu-west-1"
    assert aws.region() == "us-east-1"
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(ArgumentError, match="region='': name an AWS region"):
        aws.region()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-gov-west-1")
    assert aws.region() == "us-gov-west-1"
    with pytest.raises(ArgumentError, match="region='Ireland'"):
        aws.region("Ireland")


def test_a_machine_without_credentials_is_told_what_to_set(amazon, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ArgumentError, match=r"AWS gives no credentials: .*HFPC_AWS_ROLE_ARN"):
        aws.client("sts")
    assert amazon.faults.calls == []


def test_keys_of_the_environment_are_used(amazon):
    assert aws.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert amazon.callers == {"test"}


def test_the_role_of_a_kubernetes_service_account_is_taken_on(on_vertex, monkeypatch, tmp_path):
    """IRSA: the cluster writes a token, and names the role."""
    from tests.cloud.identity_tokens import token

    file = tmp_path / "token"
    file.write_text(token(iss="https://oidc.eks.example", sub="system:serviceaccount:ml:trainer", exp=2**40))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE.format("irsa"))
    assert "assumed-role/irsa/" in aws.client("sts").get_caller_identity()["Arn"]
    assert [claims["sub"] for claims in on_vertex.identities] == ["system:serviceaccount:ml:trainer"]


def test_a_google_service_account_takes_on_a_role(on_vertex, monkeypatch):
    from tests.cloud.identity_tokens import UNIQUE_ID

    monkeypatch.setenv(aws.ROLE_VARIABLE, ROLE.format("trainer"))
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="a", Body=b"content")
    assert "assumed-role/trainer/hfpc" in aws.client("sts").get_caller_identity()["Arn"]
    assert on_vertex.faults.calls.count("AssumeRoleWithWebIdentity") == 1  # for both clients
    [claims] = on_vertex.identities
    assert (claims["aud"], claims["sub"]) == (aws.AUDIENCE, UNIQUE_ID)
    assert len(on_vertex.callers) == 1 and "test" not in on_vertex.callers


def test_files_on_s3_are_read_by_the_same_role(on_vertex, monkeypatch):
    monkeypatch.setenv(aws.ROLE_VARIABLE, ROLE.format("reader"))
    aws.client("s3").create_bucket(Bucket="models")
    on_vertex.callers.clear()
    store, path = storage.filesystem("s3://models/a")
    store.pipe_file(path, b"content")
    assert store.cat_file(path) == b"content"
    assert len(on_vertex.callers) == 1 and "test" not in on_vertex.callers
    assert on_vertex.faults.calls.count("AssumeRoleWithWebIdentity") == 2
    assert storage.filesystem("s3://models/b")[0] is store  # one connection, however often it is asked for


def test_a_role_is_taken_on_again_before_its_keys_expire(on_vertex, monkeypatch):
    monkeypatch.setenv(aws.ROLE_VARIABLE, ROLE.format("brief"))
    on_vertex.role_seconds = 300
    client = aws.client("sts")
    client.get_caller_identity()
    client.get_caller_identity()
    assert on_vertex.faults.calls.count("AssumeRoleWithWebIdentity") == 2
    assert len(on_vertex.callers) == 2


def test_a_role_that_is_not_given_is_one_line(on_vertex, monkeypatch):
    monkeypatch.setenv(aws.ROLE_VARIABLE, ROLE.format("refused"))
    on_vertex.faults.plan(0, "error", method="AssumeRoleWithWebIdentity")
    with pytest.raises(HfpcError, match=r"asking failed: .*AccessDeniedException") as caught, aws.reaching("asking"):
        aws.client("sts").get_caller_identity()
    assert "\n" not in str(caught.value)


def test_without_a_google_service_account_the_variable_is_named(on_vertex, monkeypatch, tmp_path):
    monkeypatch.setenv(aws.ROLE_VARIABLE, ROLE.format("nobody"))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(ArgumentError, match=r"HFPC_AWS_ROLE_ARN=.*Google gives no identity token"):
        aws.client("sts").get_caller_identity()


def test_what_is_no_role_is_refused(amazon, monkeypatch):
    monkeypatch.setenv(aws.ROLE_VARIABLE, "trainer")
    with pytest.raises(ArgumentError, match="HFPC_AWS_ROLE_ARN='trainer'"):
        aws.client("sts")
    with pytest.raises(ArgumentError, match="HFPC_AWS_ROLE_ARN='trainer'"):
        storage.filesystem("s3://models/a")


def test_errors_are_one_line_that_says_what_failed(amazon):
    with pytest.raises(HfpcError, match=r"reading failed: .*NoSuchBucket") as caught, aws.reaching("reading"):
        aws.client("s3").list_objects_v2(Bucket="nothing")
    assert "\n" not in str(caught.value)
    amazon.faults.clear()
    amazon.faults.plan(0, "error")
    with pytest.raises(HfpcError, match=r"AccessDeniedException.*hfpc doctor --aws"), aws.reaching("listing"):
        aws.client("sagemaker").list_models()
    with pytest.raises(ZeroDivisionError), aws.reaching("dividing"):
        1 / 0  # noqa: B018


def test_a_call_to_sagemaker_is_made_once_unless_it_may_be_made_twice(amazon):
    amazon.faults.plan(0, "timeout", times=2)
    with pytest.raises(HfpcError, match="listing failed"), aws.reaching("listing"):
        aws.client("sagemaker").list_models()
    assert amazon.faults.calls == ["ListModels"]
    assert aws.client("sagemaker", attempts=3).list_models()["Models"] == []


def test_nothing_slow_is_imported_before_it_is_needed():
    code = (
        "import sys, hfpc.aws, hfpc.sinks.sagemaker_register\n"
        "print({'boto3', 'botocore', 'google.auth', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
