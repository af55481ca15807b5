"""Data sets on S3, Google Cloud Storage and the web, through fsspec's own clients."""

import gzip
import json
import urllib.request

import pytest

from hfpc.data.load_dataset import LoadDatasetConfig, load_dataset
from hfpc.data.sources import read
from hfpc.errors import ArgumentError, HfpcError

LOAD = """
from pathlib import Path
from hfpc.data.load_dataset import LoadDatasetConfig, load_dataset
result = [load_dataset(LoadDatasetConfig(source=source), Path({out!r})).rows for source in {sources!r}]
"""
MISSING = """
from hfpc.data.sources import read
result = read({source!r}, roles=["text"]).location
"""


def csv(word, rows=40):
    lines = "".join(f"{word} {i},{'ab'[i % 2]}\n" for i in range(rows))
    return f"text,label\n{lines}".encode()


FILES = {
    "train/part-0.csv.gz": gzip.compress(csv("one", 50)),
    "train/part-1.csv.gz": gzip.compress(csv("two", 50)),
    "test/part-0.csv.gz": gzip.compress(csv("three", 20)),
}
ROWS = {"train": 90, "validation": 10, "test": 20}


CHECKPOINTS = """
from pathlib import Path
from hfpc.training.checkpoints import Checkpoints
first, second = Checkpoints(Path({here!r}), {uri!r}), Checkpoints(Path({there!r}), {uri!r})
first.claim()
for step in (1, 2, 3):
    first.path(step).mkdir()
    (first.path(step) / "weights").write_text(f"weights {{step}}")
    first.complete(step, None)
second.claim()
result = [(second.restore() / "weights").read_text()]
second.remove()
result.append(Checkpoints(Path({there!r}), {uri!r}).restore())
"""
UPLOAD = """
from pathlib import Path
from hfpc import storage
storage.upload(Path({folder!r}), {uri!r})
result = sorted(file.name for file in storage.download({uri!r}, Path({back!r})).iterdir())
"""
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def buckets(s3):
    """S3's own client, with a bucket called `data`."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.client(
        "s3", endpoint_url=s3, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_bucket(Bucket="data")
    return client


def test_checkpoints_on_s3_are_found_by_another_machine_and_removed_at_the_end(s3, buckets, run, tmp_path):
    code = CHECKPOINTS.format(here=str(tmp_path / "here"), there=str(tmp_path / "there"), uri="s3://data/checkpoints")
    assert run(code, AWS_ENDPOINT_URL=s3, **KEYS) == ["weights 3", None]


def test_a_folder_goes_to_s3_and_back(s3, buckets, run, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("weights", "hfpc.json"):
        (folder / name).write_text(name)
    code = UPLOAD.format(folder=str(folder), uri="s3://data/model", back=str(tmp_path / "back"))
    assert run(code, AWS_ENDPOINT_URL=s3, **KEYS) == ["hfpc.json", "weights"]


def test_a_mistyped_bucket_is_not_made(s3, buckets, run, tmp_path):
    code = CHECKPOINTS.format(here=str(tmp_path / "here"), there=str(tmp_path / "there"), uri="s3://dta/checkpoints")
    refused = run(code, AWS_ENDPOINT_URL=s3, **KEYS)
    assert refused["error"] == "ArgumentError" and "checkpoint_uri='s3://dta/checkpoints'" in refused["message"]
    assert "dta" not in [bucket["Name"] for bucket in buckets.list_buckets()["Buckets"]]


@pytest.mark.parametrize("keys", [KEYS, {"AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1"}])
def test_a_model_that_s3_does_not_give_names_its_argument(s3, buckets, run, keys):
    """A bucket that is not there, and no credentials."""
    code = "from hfpc.base_model import find\nresult = str(find('s3://nowhere/model'))"
    refused = run(code, AWS_ENDPOINT_URL=s3, **keys)
    assert refused["error"] == "ArgumentError" and refused["message"].startswith("base_model='s3://nowhere/model': ")


def test_a_folder_and_a_glob_on_s3(s3, buckets, run, tmp_path):
    for name, content in FILES.items():
        buckets.put_object(Bucket="data", Key=f"tweets/{name}", Body=content)
    sources = ["s3://data/tweets", "s3://data/tweets/*/part-*.csv.gz"]
    code = LOAD.format(sources=sources, out=str(tmp_path / "out"))
    assert run(code, AWS_ENDPOINT_URL=s3, **KEYS) == [ROWS, ROWS]
    missing = run(MISSING.format(source="s3://data/nothing"), AWS_ENDPOINT_URL=s3, **KEYS)
    assert missing["error"] == "ArgumentError" and "there is no data file here" in missing["message"]


def test_a_folder_on_google_cloud_storage(gcs, run, tmp_path):
    body = json.dumps({"name": "data"}).encode()
    json_type = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{gcs}/storage/v1/b?project=test", body, json_type)).close()
    for name, content in FILES.items():
        place = f"{gcs}/upload/storage/v1/b/data/o?uploadType=media&name=tweets/{name}"
        binary = {"Content-Type": "application/octet-stream"}
        urllib.request.urlopen(urllib.request.Request(place, content, binary)).close()
    code = LOAD.format(sources=["gs://data/tweets"], out=str(tmp_path / "out"))
    environment = {"STORAGE_EMULATOR_HOST": gcs, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    assert run(code, **environment) == [ROWS]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_a_file_on_the_web(web, tmp_path, name):
    folder, address = web
    content = csv("word")
    if name.endswith("parquet"):
        import io

        import pyarrow.csv
        import pyarrow.parquet as pq

        pq.write_table(pyarrow.csv.read_csv(io.BytesIO(content)), folder / name)
    else:
        (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    config = LoadDatasetConfig(source=f"{address}/{name}?download=true")
    assert load_dataset(config, tmp_path / "out").rows == {"train": 32, "validation": 4, "test": 4}


def test_nothing_on_the_web(web):
    _, address = web
    with pytest.raises(ArgumentError, match="there is no data file here"):
        read(f"{address}/nothing.csv", roles=["text"])
    with pytest.raises(ArgumentError, match="source="):
        read("http://127.0.0.1:9/a.csv", roles=["text"])


def test_a_secret_in_an_address_reaches_no_file_and_no_message(web, tmp_path):
    folder, address = web
    (folder / "a.csv").write_bytes(csv("word"))
    (folder / "broken.parquet").write_bytes(b"no parquet")
    (folder / "unclear.bin").write_bytes(b"x")
    secret = "?X-Amz-Signature=CANARYSECRET&sig=CANARYSECRET"
    config = LoadDatasetConfig(source=f"{address}/a.csv{secret}")
    record = load_dataset(config, tmp_path / "out")
    assert record.source == f"{address}/a.csv?X-Amz-Signature=***&sig=***"
    written = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert len(written) == 4
    assert not [file for file in written if b"CANARYSECRET" in file.read_bytes()]
    for name in ("nothing.csv", "broken.parquet", "unclear.bin"):
        with pytest.raises(HfpcError) as caught:
            load_dataset(LoadDatasetConfig(source=f"{address}/{name}{secret}"), tmp_path / "none")
        assert name in str(caught.value)
        assert "CANARYSECRET" not in str(caught.value)
