"""Models of gigabytes are staged in little memory, each in a process of its own."""

import os
import random
import subprocess
import sys

import httpx
import pytest

from hfpc.manifest import Manifest, ModelRecord
from tests.cloud.aws_fixtures import ENVIRONMENT
from tests.cloud.s3_drain import S3Drain

GIB = 1 << 30
MOST = 300 << 20
CODE = """
import sys
from hfpc.sinks.sagemaker_staging import StagingConfig, stage
stage(sys.argv[1], StagingConfig(uri="s3://models/staged", form=sys.argv[2]))
status = open("/proc/self/status").read()
print(int(status.partition("VmHWM:")[2].split()[0]) << 10)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc"),
]


def save(folder):
    """Makes a folder that holds a file called `weights.bin` a model."""
    record = ModelRecord(base_model="b", revision="", max_length=8, parameters={}, metrics={}, fingerprint="a" * 64)
    Manifest(kind="model", task="text-classification", model=record).write(folder)


def peak(folder, form, drain, **settings):
    """Bytes of resident memory that staging took at most."""
    environment = {**os.environ, **ENVIRONMENT, "AWS_ENDPOINT_URL": drain.url, **settings}
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder), form], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_two_gigabytes_as_a_folder(tmp_path, capsys):
    with (tmp_path / "weights.bin").open("wb") as weights:
        weights.truncate(2 * GIB)
    save(tmp_path)
    with S3Drain().serve() as drain:
        used = peak(tmp_path, "folder", drain)
    with capsys.disabled():
        print(f"\n2 GiB folder: {drain.received} bytes in {drain.checked} parts, peak {used >> 20} MiB")
    assert drain.received == 2 * GIB + (tmp_path / "hfpc.json").stat().st_size
    assert drain.wrong == []
    assert [path.rpartition("/")[2] for path in drain.completed] == ["weights.bin", "hfpc.json"]
    assert used < MOST


def test_a_model_on_google_cloud_storage(tmp_path, gcs, capsys):
    """Vertex AI leaves models there; the file is larger than the memory that may be used."""
    with (tmp_path / "weights.bin").open("wb") as weights:
        weights.truncate(GIB // 2)
    save(tmp_path)
    httpx.post(f"{gcs}/storage/v1/b?project=test", json={"name": "large"}, trust_env=False)
    for name in ("weights.bin", "hfpc.json"):
        place = f"{gcs}/upload/storage/v1/b/large/o?uploadType=media&name=run/{name}"
        with (tmp_path / name).open("rb") as content:
            assert httpx.post(place, content=content, timeout=300, trust_env=False).is_success
    environment = {"STORAGE_EMULATOR_HOST": gcs, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    with S3Drain().serve() as drain:
        used = peak("gs://large/run", "folder", drain, **environment)
    with capsys.disabled():
        print(f"\n512 MiB from Google Cloud Storage: {drain.received} bytes, peak {used >> 20} MiB")
    assert drain.received == GIB // 2 + (tmp_path / "hfpc.json").stat().st_size
    assert drain.wrong == []
    assert used < MOST


def test_an_archive_that_cannot_be_compressed(tmp_path, capsys):
    block = random.Random(0).randbytes(1 << 20)
    with (tmp_path / "weights.bin").open("wb") as weights:
        for number in range(600):
            weights.write(block[number:] + block[:number])
    save(tmp_path)
    with S3Drain().serve() as drain:
        used = peak(tmp_path, "archive", drain)
    with capsys.disabled():
        print(f"\n600 MiB archive: {drain.received} bytes in {drain.checked} parts, peak {used >> 20} MiB")
    assert drain.received > 500 << 20
    assert drain.wrong == []
    assert [path.rpartition("/")[2] for path in drain.completed] == ["model.tar.gz"]
    assert used < MOST
