"""What AWS's files and its chain of credential providers say; botocore reads them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ProfileNotFound
from botocore.exceptions import ConnectionError as UnreachableError
from botocore.session import Session

from cachesvc.errors import (
    AccessDeniedError,
    CredentialsExpiredError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)

EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException"})


class AwsFiles:
    """The settings of one profile, with those of the environment before them."""

    def __init__(
        self, profile: str | None, files: Mapping[str, str], environ: Mapping[str, str]
    ) -> None:
        """Read *files*, paths by botocore's names for them. Raises UsageError without *profile*."""
        self._environ = environ
        self._session = Session(session_vars={"profile": (None, None, profile, None)})
        for name, path in files.items():
            self._session.set_config_variable(name, path)
        try:
            self._scoped: Mapping[str, str] = self._session.get_scoped_config()
        except ProfileNotFound:
            message = f"storage option profile: no AWS profile is named {profile!r}"
            raise UsageError(message) from None

    def region(self) -> str | None:
        """Return the profile's region."""
        return self._scoped.get("region")

    def endpoint(self) -> str | None:
        """Return the endpoint that is configured for S3 or for all services."""
        provider = ConfiguredEndpointProvider(
            full_config=self._session.full_config,
            scoped_config=self._scoped,
            client_name="s3",
            environ=self._environ,
        )
        found: str | None = provider.provide()
        return found

    def credentials(self) -> dict[str, str]:
        """Ask the chain: profiles, roles, single sign-on, container and instance metadata."""
        chain = self._session.get_component("credential_provider")
        chain.remove("env")
        if self._environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            chain.remove("iam-role")
        try:
            credentials = chain.load_credentials()
            frozen = credentials.get_frozen_credentials() if credentials else None
        except (BotoCoreError, ClientError) as exc:
            raise _refusal(exc) from exc
        if frozen is None:
            return {}
        found = {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}
        return {name: value for name, value in found.items() if value}


def _refusal(error: BotoCoreError | ClientError) -> StoreError:
    """Return what it means that nobody gave out credentials."""
    message = f"AWS credentials cannot be had: {error}"
    if isinstance(error, HTTPClientError | UnreachableError):
        return StoreUnavailableError(message)
    if isinstance(error, ClientError):
        about = error.response
        if about["ResponseMetadata"]["HTTPStatusCode"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return StoreUnavailableError(message)
        if about["Error"]["Code"] in EXPIRED_CODES:
            return CredentialsExpiredError(message)
    return AccessDeniedError(message)
