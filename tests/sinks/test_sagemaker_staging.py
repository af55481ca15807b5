"""Staging on the S3 of this machine."""

import io
import shutil
import tarfile

import pytest

from hfpc import aws, registry
from hfpc.errors import ArgumentError, DataError, HfpcError
from hfpc.manifest import Manifest, ModelRecord
from hfpc.sinks.model_archive import archive
from hfpc.sinks.sagemaker_staging import StagingConfig, _sources, as_archive, container_data, stage

PLACE = "s3://models/staged"
FINGERPRINT = "a" * 64
LARGE = 20 << 20


@pytest.fixture
def s3(amazon):
    client = aws.client("s3")
    client.create_bucket(Bucket="models")
    amazon.faults.clear()
    return client


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A model folder whose weights take three parts."""
    folder = tmp_path_factory.mktemp("large") / "model"
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes(bytes(range(256)) * (LARGE // 256))
    (folder / "config.json").write_text("{}")
    record = ModelRecord(base_model="b", revision="", max_length=8, parameters={}, metrics={}, fingerprint=FINGERPRINT)
    Manifest(kind="model", task="text-classification", model=record).write(folder)
    return folder


def objects(s3, prefix="staged"):
    """Key below a prefix to content."""
    listed = s3.list_objects_v2(Bucket="models", Prefix=prefix).get("Contents", [])
    return {item["Key"]: s3.get_object(Bucket="models", Key=item["Key"])["Body"].read() for item in listed}


def files(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def uploads(amazon):
    """What was sent to S3, without reading calls."""
    return [call for call in amazon.faults.calls if call in ("S3.PUT", "S3.POST")]


def test_a_folder_is_uploaded_once_with_checksums(amazon, s3, large):
    staged = stage(str(large), StagingConfig(uri=PLACE))
    prefix = f"staged/{FINGERPRINT}/model/"
    assert staged.uri == f"s3://models/{prefix}" and staged.uploaded > LARGE
    assert objects(s3) == {f"{prefix}{name}": content for name, content in files(large).items()}
    for name in files(large):
        head = s3.head_object(Bucket="models", Key=f"{prefix}{name}", ChecksumMode="ENABLED")
        assert head["ChecksumCRC32"], name
    amazon.faults.clear()
    again = stage(str(large), StagingConfig(uri=PLACE))
    assert (again.uri, again.uploaded) == (staged.uri, 0)
    assert uploads(amazon) == []


def test_an_upload_that_fails_anywhere_does_not_look_whole(amazon, s3, large):
    stage(str(large), StagingConfig(uri=PLACE))
    sent = [number for number, call in enumerate(amazon.faults.calls) if call in ("S3.PUT", "S3.POST")]
    assert len(sent) >= 7  # three parts, their beginning and end, and two small files
    for number in sent:
        amazon.reset()
        s3.create_bucket(Bucket="models")
        amazon.faults.clear()
        amazon.faults.plan(number, "error")
        with pytest.raises(HfpcError, match=r"staging the model to s3://models/staged failed: .*AccessDenied"):
            stage(str(large), StagingConfig(uri=PLACE))
        assert f"staged/{FINGERPRINT}/model/hfpc.json" not in objects(s3)


def test_half_an_upload_is_completed(amazon, s3, large):
    whole = stage(str(large), StagingConfig(uri=PLACE))
    prefix = f"staged/{FINGERPRINT}/model/"
    s3.delete_object(Bucket="models", Key=f"{prefix}hfpc.json")
    s3.put_object(Bucket="models", Key=f"{prefix}config.json", Body=b"{ cut")
    completed = stage(str(large), StagingConfig(uri=PLACE))
    assert completed.uri == whole.uri
    assert 0 < completed.uploaded < LARGE  # the weights were there
    assert objects(s3) == {f"{prefix}{name}": content for name, content in files(large).items()}
    s3.delete_object(Bucket="models", Key=f"{prefix}hfpc.json")
    s3.put_object(Bucket="models", Key=f"{prefix}onnx/model.onnx", Body=b"another length")
    assert stage(str(large), StagingConfig(uri=PLACE)).uploaded > LARGE
    assert objects(s3) == {f"{prefix}{name}": content for name, content in files(large).items()}


def test_an_archive_holds_the_files_at_its_root(amazon, s3, large):
    staged = stage(str(large), StagingConfig(uri=PLACE, form="archive"))
    assert staged.uri == f"s3://models/staged/{FINGERPRINT}/model.tar.gz"
    [content] = objects(s3).values()
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        found = {name: tar.extractfile(name).read() for name in tar.getnames()}
    assert found == files(large)
    amazon.faults.clear()
    assert stage(str(large), StagingConfig(uri=PLACE, form="archive")).uploaded == 0
    assert uploads(amazon) == []


def test_what_is_staged_as_a_folder_is_packed_beside_it_once(amazon, s3, large):
    config = StagingConfig(uri=PLACE)
    folder = stage(str(large), config)
    packed = as_archive(folder.uri, config)
    assert packed == f"s3://models/staged/{FINGERPRINT}/model.tar.gz"
    assert packed.removeprefix("s3://models/") in objects(s3)
    amazon.faults.clear()
    assert as_archive(folder.uri, config) == as_archive(packed, config) == packed
    assert uploads(amazon) == []


def test_a_container_is_told_of_an_archive_by_its_url_and_of_a_folder_as_a_source():
    assert container_data("s3://models/a/model.tar.gz") == {"ModelDataUrl": "s3://models/a/model.tar.gz"}
    source = {"S3Uri": "s3://models/a/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    assert container_data("s3://models/a/model/") == {"ModelDataSource": {"S3DataSource": source}}


def test_a_folder_on_s3_gives_the_same_archive_as_the_model(amazon, s3, large):
    folder = stage(str(large), StagingConfig(uri=PLACE))
    [mine, other] = [
        stage(source, StagingConfig(uri=f"{PLACE}/{name}", form="archive"))
        for name, source in (("a", str(large)), ("b", folder.uri))
    ]
    assert (
        objects(s3, "staged/a")[mine.uri.removeprefix("s3://models/")]
        == (objects(s3, "staged/b")[other.uri.removeprefix("s3://models/")])
    )


def test_a_model_on_google_cloud_storage(amazon, s3, gcs, large, monkeypatch):
    """As Vertex AI leaves it."""
    import httpx

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs)
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    httpx.post(f"{gcs}/storage/v1/b?project=test", json={"name": "trained"}, trust_env=False)
    for name, content in files(large).items():
        place = f"{gcs}/upload/storage/v1/b/trained/o"
        sent = httpx.post(
            place, params={"uploadType": "media", "name": f"run/{name}"}, content=content, trust_env=False
        )
        assert sent.is_success
    staged = stage("gs://trained/run", StagingConfig(uri=PLACE))
    prefix = staged.uri.removeprefix("s3://models/")
    assert objects(s3) == {f"{prefix}{name}": content for name, content in files(large).items()}


def test_a_plain_transformers_folder_gets_its_record(s3, model, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(model, plain, ignore=shutil.ignore_patterns("hfpc.json", "golden.json"))
    staged = stage(str(plain), StagingConfig(uri=PLACE))
    assert staged.fingerprint == registry.fingerprint(plain)
    assert f"{staged.uri.removeprefix('s3://models/')}hfpc.json" in objects(s3)


def test_a_key_encrypts_every_object(s3, large):
    config = StagingConfig(uri=PLACE, kms_key="alias/models")
    stage(str(large), config)
    for key in objects(s3):
        head = s3.head_object(Bucket="models", Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/models"), key


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_source_that_breaks_off_leaves_nothing_that_looks_whole(s3, large, tmp_path, form):
    copy = tmp_path / "model"
    shutil.copytree(large, copy)
    sources = _sources(str(copy))
    (copy / "onnx" / "model.onnx").write_bytes(b"shorter")
    with archive(sources) as stream, pytest.raises(OSError, match="unexpected end of data"):
        list(iter(lambda: stream.read(1 << 20), b""))
    (copy / "onnx" / "model.onnx").unlink()
    (copy / "onnx" / "model.onnx").symlink_to(tmp_path / "nothing")
    with pytest.raises(HfpcError):
        stage(str(copy), StagingConfig(uri=PLACE, form=form))
    assert not [key for key in objects(s3) if key.endswith(("hfpc.json", ".tar.gz"))]


def test_a_bucket_that_sagemaker_cannot_read_is_refused_before_anything_is_sent(amazon, s3, large):
    elsewhere = {"LocationConstraint": "eu-west-1"}
    aws.client("s3", "eu-west-1").create_bucket(Bucket="irish", CreateBucketConfiguration=elsewhere)
    amazon.faults.clear()
    with pytest.raises(
        ArgumentError, match=r"SageMaker in us-east-1 reads from buckets of us-east-1 only.*in eu-west-1"
    ):
        stage(str(large), StagingConfig(uri="s3://irish/a"))
    with pytest.raises(ArgumentError, match="staging_uri='s3://nothing/a': there is no such bucket"):
        stage(str(large), StagingConfig(uri="s3://nothing/a"))
    assert uploads(amazon) == []
    assert stage(str(large), StagingConfig(uri="s3://irish/a"), "eu-west-1").uploaded > LARGE


def test_what_is_no_model_is_refused(s3, tmp_path):
    with pytest.raises(DataError, match=r"has no hfpc\.json"):
        stage(str(tmp_path), StagingConfig(uri=PLACE))
    with pytest.raises(ArgumentError, match="model='s3://models/nothing'"):
        stage("s3://models/nothing", StagingConfig(uri=PLACE))


@pytest.mark.parametrize(
    "uri", ["", "models", "gs://models/a", "s3://", "s3://a/b", "s3://models/a//b", "s3://models/a\nb"]
)
def test_what_is_no_place_on_s3_is_refused(uri):
    with pytest.raises(ArgumentError, match="staging_uri="):
        StagingConfig(uri=uri)
