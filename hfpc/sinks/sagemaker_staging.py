"""Model data on S3 for SageMaker: uploaded once for each model, from any store, with little memory.

    <uri>/<fingerprint>/model/          the model's files as they are, `hfpc.json` last
    <uri>/<fingerprint>/model.tar.gz    the same in one file, for what cannot take a folder

The name is made of the model's fingerprint, so a retried step finds what it uploaded before. A folder without
`hfpc.json` is half an upload: its large files are kept and the rest is sent. A file of S3 is there whole or not at all.
"""

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hfpc import aws, manifest, storage
from hfpc.errors import ArgumentError
from hfpc.inference.plain_model import manifest_of
from hfpc.manifest import Manifest
from hfpc.sinks import model_folder
from hfpc.sinks.model_archive import Source, archive

Form = Literal["folder", "archive"]
FORMS: tuple[Form, ...] = ("folder", "archive")
ARCHIVE = "model.tar.gz"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KMS_KEY = re.compile(
    r"(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[\w/-]{1,256}"
    r"|alias/[\w/-]{1,250}|mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})",
    re.ASCII,
)
_LEAST_PART = 8 << 20
"""S3 takes parts from 5 MiB on; up to ten of them are in memory at once."""

_MOST_PARTS = 9_000  # S3 takes 10,000, and an archive may be a little larger than what it is of
_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class StagingConfig:
    """Where model data goes on S3.

    Attributes:
        uri: `s3://BUCKET/PREFIX`, in the region of the endpoint.
        form: "folder" (default: no packing, so endpoints start faster), or "archive" for what takes nothing else,
            e.g. serverless endpoints.
        kms_key: Id, ARN or alias of the KMS key that encrypts it; "" means the bucket's own encryption.

    Raises:
        ArgumentError: A value cannot be used.
    """

    uri: str
    form: Form = "folder"
    kms_key: str = ""

    def __post_init__(self) -> None:
        bucket_and_key(self.uri, "staging_uri")
        if self.form not in FORMS:
            raise ArgumentError("form", self.form, f"give one of {', '.join(FORMS)}")
        check_kms_key(self.kms_key)


@dataclass(frozen=True, kw_only=True)
class StagedModel:
    """A model on S3.

    Attributes:
        uri: Its folder, with a slash at the end, or its archive.
        form: Which of both it is.
        fingerprint: The model's fingerprint.
        uploaded: Bytes of its files that were sent now; 0 where everything was there.
    """

    uri: str
    form: Form
    fingerprint: str
    uploaded: int = 0


def container_data(uri: str) -> dict[str, Any]:
    """What the definition of a container says of a staged folder or archive.

    An archive is its `ModelDataUrl`: serverless endpoints and transform jobs refuse models with a `ModelDataSource`,
    whatever that names.
    """
    if _is_archive(uri):
        return {"ModelDataUrl": uri}
    source = {"S3Uri": uri, "S3DataType": "S3Prefix", "CompressionType": "None"}
    return {"ModelDataSource": {"S3DataSource": source}}


def _is_archive(uri: str) -> bool:
    return uri.endswith(".tar.gz")


def bucket_and_key(uri: str, argument: str = "uri") -> tuple[str, str]:
    """The bucket and the key of an `s3://` URI; the key has no slash at its end.

    Raises:
        ArgumentError: It is none.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket) or len(uri) > 700 or not key.isprintable() or "//" in key:
        raise ArgumentError(argument, uri, "give a place on S3, e.g. s3://my-bucket/models")
    return bucket, key.strip("/")


def check_kms_key(key: str) -> None:
    """Raises ArgumentError unless this is the id, ARN or alias of a KMS key, or empty."""
    if key and not _KMS_KEY.fullmatch(key):
        raise ArgumentError("kms_key", key, "give the id, ARN or alias/NAME of a KMS key")


def record(model: str, argument: str = "model") -> Manifest:
    """What a model in any store is: its `hfpc.json`, or what a plain one on this machine tells itself.

    Args:
        model: A path or URI of a model folder.
        argument: Name of the argument that `model` came from, for the error.

    Raises:
        ArgumentError: The store refused, or there is no such folder.
        DataError: It is not a model of this library.
        ModelError: It is a plain model that is for no task of this library.
    """
    if not storage.is_uri(model):
        return manifest_of(Path(model.removeprefix("file://")))
    return model_folder.record(model, argument)


def stage(model: str, config: StagingConfig, region: str = "") -> StagedModel:
    """Uploads a model to S3, unless it is there.

    Args:
        model: Path or URI (`gs://`, `s3://`, …) of a model folder.
        config: Where to.
        region: AWS region; "" means the environment's.

    Raises:
        ArgumentError: An argument cannot be used, there is no such bucket in the region, or the store that `model` is
            in refused.
        DataError: `model` is not a model folder of this library.
        ModelError: It is a plain model that is for no task of this library.
        HfpcError: S3 refused.
    """
    found = record(model)
    assert found.model is not None
    fingerprint = found.model.fingerprint
    bucket, prefix = bucket_and_key(config.uri, "staging_uri")
    root = f"{prefix}/{fingerprint}".lstrip("/")
    with storage.reaching(model, "model"), aws.reaching(f"staging the model to {config.uri}"):
        place = _Place(aws.client("s3", region), bucket, config.kms_key)
        place.check(config.uri, aws.region(region))
        if config.form == "archive":
            key = f"{root}/{ARCHIVE}"
            sent = 0 if key in place.sizes(key) else _send_archive(place, key, _sources(model))
        else:
            key = f"{root}/model/"
            sent = _send_folder(place, key, _sources(model), found)
    return StagedModel(uri=f"s3://{bucket}/{key}", form=config.form, fingerprint=fingerprint, uploaded=sent)


def as_archive(model_data: str, config: StagingConfig, region: str = "") -> str:
    """URI of staged model data as one archive, which is made beside the folder unless it is there.

    Args:
        model_data: `s3://…` of a staged folder or archive.
        config: Where it is staged.
        region: AWS region; "" means the environment's.

    Raises:
        HfpcError: As `stage` does.
    """
    if _is_archive(model_data):
        return model_data
    return stage(model_data, replace(config, form="archive"), region).uri


def write_object(uri: str, content: bytes, kms_key: str = "", region: str = "") -> None:
    """Puts a small object on S3, in place of the one that is there.

    Raises:
        ArgumentError: `uri` is no place on S3.
        HfpcError: S3 refused.
    """
    bucket, key = bucket_and_key(uri)
    with aws.reaching(f"writing {uri}"):
        _Place(aws.client("s3", region), bucket, kms_key).write(key, content)


class _Place:
    """A bucket, and how objects are put there."""

    def __init__(self, client: Any, bucket: str, kms_key: str) -> None:
        self._client, self._bucket = client, bucket
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
        self._arguments = {"ChecksumAlgorithm": "CRC32", **encryption}

    def check(self, uri: str, region: str) -> None:
        """Raises ArgumentError unless SageMaker in this region can read from the bucket."""
        try:
            where = self._client.head_bucket(Bucket=self._bucket).get("BucketRegion", region)
        except Exception as error:
            if aws.code(error) not in ("404", "NoSuchBucket"):
                raise
            raise ArgumentError("staging_uri", uri, f"there is no such bucket: make one in {region}") from error
        if where != region:
            fix = f"SageMaker in {region} reads from buckets of {region} only, and this one is in {where}"
            raise ArgumentError("staging_uri", uri, fix)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Key to size of what is there."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", ())}

    def send(self, key: str, stream: Any, size: int) -> None:
        """Uploads a stream in parts, each with its checksum; what fails leaves nothing."""
        from boto3.s3.transfer import TransferConfig

        part = max(_LEAST_PART, -(-size // _MOST_PARTS))
        transfer = TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=_THREADS)
        self._client.upload_fileobj(stream, self._bucket, key, ExtraArgs=self._arguments, Config=transfer)

    def write(self, key: str, content: bytes) -> None:
        """Puts a small object."""
        self._client.put_object(Bucket=self._bucket, Key=key, Body=content, **self._arguments)


def _send_folder(place: _Place, prefix: str, sources: list[Source], found: Manifest) -> int:
    """Sends what is not there, `hfpc.json` last; returns the bytes sent."""
    there, mark = place.sizes(prefix), f"{prefix}{manifest.FILE_NAME}"
    if mark in there:
        return 0
    sent = 0
    for source in sources:
        key = f"{prefix}{source.name}"
        if source.name == manifest.FILE_NAME or (source.size >= _LEAST_PART and there.get(key) == source.size):
            continue
        with source.open() as stream:
            place.send(key, stream, source.size)
        sent += source.size
    with tempfile.TemporaryDirectory() as scratch:
        found.write(Path(scratch))
        content = (Path(scratch) / manifest.FILE_NAME).read_bytes()
    place.write(mark, content)
    return sent + len(content)


def _send_archive(place: _Place, key: str, sources: list[Source]) -> int:
    size = sum(source.size for source in sources)
    with archive(sources) as stream:
        place.send(key, stream, size)
    return size


def _sources(model: str) -> list[Source]:
    """The files of a model folder in any store."""
    store, path = storage.filesystem(model.removeprefix("file://"), "model")
    root = path.rstrip("/")
    found = []
    for file, details in sorted(store.find(root, detail=True).items()):
        name = file.removeprefix(root).lstrip("/")
        if file.endswith("/"):  # how consoles of object stores mark a folder
            continue
        if ".." in name.split("/") or not name.isprintable():
            raise ArgumentError("model", model, f"it holds {name!r}, a name that leads out of the folder")
        found.append(Source(name=name, size=details["size"], store=store, path=file))
    return found
