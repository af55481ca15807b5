"""Amazon Web Services: who calls, in which region, and what its errors mean.

Credentials are those of the environment, as every AWS client finds them: keys, a profile, the role of a Kubernetes
service account (IRSA) or of the machine. Where `HFPC_AWS_ROLE_ARN` names a role, it is taken on with an identity
token of the Google service account that the code runs as, so that a pipeline on Vertex AI needs no AWS keys:
`hfpc submit` hands the variable on to the steps of a pipeline that has some for SageMaker. The role's trust policy
names `accounts.google.com` as the provider and asks for `accounts.google.com:oaud` to be `sts.amazonaws.com` and
`accounts.google.com:sub` to be the unique id of the service account.

The calls are boto3's. The resources of the SageMaker Python SDK (3.x) make the same ones, but bring 15 packages more
into every container, an SSH client among them, hold rich below 15, and send telemetry unless a file forbids it. What is
made here is for that SDK, too: `sagemaker.core.resources.Endpoint.get(NAME).invoke(…)` asks an endpoint.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from hfpc import __version__
from hfpc.errors import ArgumentError, HfpcError, MissingExtraError

if TYPE_CHECKING:
    import boto3

ROLE_VARIABLE = "HFPC_AWS_ROLE_ARN"
"""Environment variable: ARN of the role that a Google service account takes on."""

AUDIENCE = "sts.amazonaws.com"
"""Whom Google's identity token is for."""

_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]{1,2}")
_METHOD = "hfpc-google-identity"
_SAFE_TO_REPEAT = ("s3", "sts", "ecr")
"""Services of which every call that is made here has the same effect when it is made twice."""


def region(given: str = "") -> str:
    """The region to work in: what is given, else `AWS_REGION`, `AWS_DEFAULT_REGION` or what the profile names.

    Raises:
        ArgumentError: None of them names a region, or it is none.
        MissingExtraError: The extra `aws` is not installed.
    """
    found = given or os.environ.get("AWS_REGION", "") or _boto3().Session().region_name or ""
    if not _REGION.fullmatch(found):
        raise ArgumentError("region", found, "name an AWS region, e.g. us-east-1, here or in AWS_REGION")
    return found


def role_arn() -> str:
    """The role that `HFPC_AWS_ROLE_ARN` names; "" for none.

    Raises:
        ArgumentError: What it names is no ARN of a role.
    """
    role = os.environ.get(ROLE_VARIABLE, "")
    if role and not _ROLE_ARN.fullmatch(role):
        raise ArgumentError(ROLE_VARIABLE, role, "set it to the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME")
    return role


def session(region_name: str = "") -> "boto3.Session":
    """A session of boto3 with the credentials of the environment.

    Args:
        region_name: AWS region; "" means the environment's.

    Raises:
        MissingExtraError: The extra `aws` is not installed.
        ArgumentError: There is no region, or there are no credentials.
    """
    boto = _boto3()
    own = region(region_name)
    import botocore.session

    core = botocore.session.get_session()
    core.register_component("data_loader", _loader())
    role = role_arn()
    if role:
        core.register_component("credential_provider", _resolver(role))
    found = boto.Session(botocore_session=core, region_name=own)
    if found.get_credentials() is None:
        fix = f"AWS gives no credentials: set keys or a profile, run where a role is given, or set {ROLE_VARIABLE}"
        raise ArgumentError("AWS_ACCESS_KEY_ID", "", fix)
    return found


def client(service: str, region_name: str = "", *, attempts: int = 0, within: "boto3.Session | None" = None) -> Any:
    """A client of a service.

    Args:
        service: As boto3 calls it, e.g. "sagemaker" or "s3".
        region_name: AWS region; "" means the environment's.
        attempts: How often a call is made that was throttled or not answered. 0 means 5 for services of which every
            call may be made twice, and 1 for others, e.g. SageMaker: there an answer that was lost is no sign that
            nothing was done, so whoever knows that a call may be made twice says so.
        within: A session that several clients share, so that credentials are looked up once; None makes one.

    Raises:
        MissingExtraError: The extra `aws` is not installed.
        ArgumentError: There is no region, or there are no credentials.
    """
    from_environment = within or session(region_name)
    from botocore.config import Config

    attempts = attempts or (5 if service in _SAFE_TO_REPEAT else 1)
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": attempts},
        user_agent_extra=f"hfpc/{__version__}",
    )
    return from_environment.client(service, config=config)


def async_session() -> Any:
    """The session of aiobotocore for s3fs; None where its own one finds the same credentials.

    Raises:
        MissingExtraError: The extra `aws` is not installed.
        ArgumentError: The environment names a role that is none.
    """
    role = role_arn()
    return _async_session(role) if role else None


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Raises HfpcError, in one line, for what AWS raises in the block.

    Args:
        what: What the block does, e.g. "registering tweets with SageMaker".
    """
    try:
        yield
    except HfpcError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("boto3", "botocore", "s3transfer"):
            raise
        raise HfpcError(f"{what} failed: {reason(error)}") from error


def code(error: BaseException) -> str:
    """The code of an error that AWS answered with, e.g. "ValidationException"; "" for any other error."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def is_unsure(error: BaseException) -> bool:
    """Whether the call may have been done although it raised: AWS did not answer, or answered that it broke."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return True
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500


def reason(error: BaseException) -> str:
    """What went wrong, in one line, and what to do where that is known."""
    text = " ".join(str(error).split())
    if code(error) in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "InvalidIdentityToken"):
        return f"{text}; allow the identity that `hfpc doctor --aws` names to do that"
    if code(error) in ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"):
        return f"{text}; renew the AWS credentials"
    return text


def _boto3() -> Any:
    try:
        import boto3
    except ImportError as error:
        raise MissingExtraError("boto3", "aws", "Amazon Web Services") from error
    return boto3


@lru_cache(maxsize=1)
def _loader() -> Any:
    """Reads botocore's descriptions of services once in a process: SageMaker's is large."""
    from botocore.loaders import create_loader

    return create_loader(os.environ.get("AWS_DATA_PATH"))


@lru_cache(maxsize=8)
def _resolver(role: str) -> Any:
    """Gives the credentials of the role; all sessions share them, so the role is taken on once."""
    from botocore.credentials import (
        AssumeRoleWithWebIdentityCredentialFetcher,
        CredentialResolver,
        DeferredRefreshableCredentials,
    )
    from botocore.session import get_session

    create = partial(get_session().create_client, region_name=_sts_region())
    fetcher = AssumeRoleWithWebIdentityCredentialFetcher(
        create, _google_token, role, extra_args={"RoleSessionName": "hfpc"}
    )
    credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, _METHOD)

    class Provider:
        METHOD = _METHOD

        def load(self) -> Any:
            return credentials

    return CredentialResolver([Provider()])


@lru_cache(maxsize=8)
def _async_session(role: str) -> Any:
    """Cached, because fsspec opens a connection of its own for each session that it is given."""
    from aiobotocore.credentials import (
        AioAssumeRoleWithWebIdentityCredentialFetcher,
        AioCredentialResolver,
        AioDeferredRefreshableCredentials,
    )
    from aiobotocore.session import AioSession

    create = partial(AioSession().create_client, region_name=_sts_region())
    fetcher = AioAssumeRoleWithWebIdentityCredentialFetcher(
        create, _google_token, role, extra_args={"RoleSessionName": "hfpc"}
    )
    credentials = AioDeferredRefreshableCredentials(fetcher.fetch_credentials, _METHOD)

    class Provider:
        METHOD = _METHOD

        async def load(self) -> Any:
            return credentials

    own = AioSession()
    own.register_component("credential_provider", AioCredentialResolver([Provider()]))
    return own


def _sts_region() -> str:
    """Where a role is taken on: botocore does not read `AWS_REGION`, and files on S3 can be read without a region."""
    try:
        return region()
    except ArgumentError:
        return "us-east-1"


def _google_token() -> str:
    """An identity token of the Google service account that this code runs as, for AWS."""
    try:
        import google.auth.transport.requests
        from google.auth.exceptions import GoogleAuthError
        from google.oauth2.id_token import fetch_id_token
    except ImportError as error:
        raise MissingExtraError("google.auth", "google", ROLE_VARIABLE) from error
    try:
        request = google.auth.transport.requests.Request()
        return str(fetch_id_token(request, AUDIENCE))  # type: ignore[no-untyped-call]
    except (GoogleAuthError, OSError, ValueError) as error:
        fix = f"Google gives no identity token to take it on with ({error}): run as a Google service account"
        raise ArgumentError(ROLE_VARIABLE, os.environ.get(ROLE_VARIABLE, ""), fix) from error
