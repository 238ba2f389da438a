"""The usual AWS settings as plain values: from options, environment, profiles, config files."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

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

DEFAULT_REGION = "us-east-1"
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
ADDRESSING_STYLES = ("path", "virtual", "auto")
EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException"})
CREDENTIAL_NAMES = ("key", "secret", "token")


def resolve_s3_options(
    bucket: str, options: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return *options* with everything filled in that a store needs to reach *bucket*.

    An option wins over the environment, and that over the files. Where no credentials are found,
    requests go unsigned.
    """
    session = _session(options, environ)
    resolved = {name: value for name, value in options.items() if name != "profile"}
    resolved["region"] = _region(session, options, environ)
    resolved.update(_endpoint(session, bucket, resolved, environ))
    resolved.update(_credentials(session, options, environ))
    return resolved


def _session(options: Mapping[str, str], environ: Mapping[str, str]) -> Session:
    profile = options.get("profile") or environ.get("AWS_PROFILE") or None
    session = Session(session_vars={"profile": (None, None, profile, None)})
    home = environ.get("HOME", "~")
    files = {
        "config_file": environ.get("AWS_CONFIG_FILE", f"{home}/.aws/config"),
        "credentials_file": environ.get("AWS_SHARED_CREDENTIALS_FILE", f"{home}/.aws/credentials"),
    }
    for name, path in files.items():
        session.set_config_variable(name, path)
    try:
        session.get_scoped_config()
    except ProfileNotFound:
        message = f"storage option profile: no AWS profile is named {profile!r}"
        raise UsageError(message) from None
    return session


def _region(session: Session, options: Mapping[str, str], environ: Mapping[str, str]) -> str:
    candidates = (
        options.get("region"),
        environ.get("AWS_REGION"),
        environ.get("AWS_DEFAULT_REGION"),
        session.get_scoped_config().get("region"),
    )
    return next((region for region in candidates if region), DEFAULT_REGION)


def _endpoint(
    session: Session, bucket: str, options: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    given = options.get("endpoint_url") or _configured_endpoint(session, environ)
    style = options.get("addressing_style", "auto")
    if style not in ADDRESSING_STYLES:
        message = f"storage option addressing_style: {style!r} is none of path, virtual, auto"
        raise UsageError(message)
    if style == "auto":
        # A bucket with a dot in its name matches no wildcard certificate.
        style = "path" if given or "." in bucket else "virtual"
    url = _checked_endpoint(given) if given else aws_endpoint(options["region"])
    return {"endpoint_url": url, "addressing_style": style}


def aws_endpoint(region: str) -> str:
    """Return the URL of AWS's own S3 in *region*."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{region}.{domain}"


def _configured_endpoint(session: Session, environ: Mapping[str, str]) -> str | None:
    provider = ConfiguredEndpointProvider(
        full_config=session.full_config,
        scoped_config=session.get_scoped_config(),
        client_name="s3",
        environ=environ,
    )
    found: str | None = provider.provide()
    return found


def _checked_endpoint(url: str) -> str:
    try:
        parts = urlsplit(url)
        plain = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1)
    except ValueError:
        plain = None
    # The URL is not repeated in the message: it may hold a password.
    if not plain or "@" in parts.netloc or parts.query or parts.fragment:
        message = "storage option endpoint_url: must be http(s)://HOST[:PORT] and nothing secret"
        raise UsageError(message)
    return url.rstrip("/")


def _credentials(
    session: Session, options: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    if _anonymous(options):
        return {"anon": "true"}
    found = _given_credentials(options, environ) or _stored_credentials(session, environ)
    return {"anon": "false", **found} if found else {"anon": "true"}


def _anonymous(options: Mapping[str, str]) -> bool:
    word = options.get("anon", "false").lower()
    if word not in TRUTH:
        message = f"storage option anon: {options['anon']!r} is neither true nor false"
        raise UsageError(message)
    if TRUTH[word] and not options.keys().isdisjoint(CREDENTIAL_NAMES):
        message = "storage option anon: cannot be true when credentials are given"
        raise UsageError(message)
    return TRUTH[word]


def _given_credentials(options: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    given = {name: options[name] for name in CREDENTIAL_NAMES if options.get(name)}
    if given:
        return _complete(given, "storage option", {name: name for name in CREDENTIAL_NAMES})
    if options.get("profile"):
        return {}
    names = {
        "key": "AWS_ACCESS_KEY_ID",
        "secret": "AWS_SECRET_ACCESS_KEY",
        "token": "AWS_SESSION_TOKEN",
    }
    set_up = {name: environ[variable] for name, variable in names.items() if environ.get(variable)}
    return _complete(set_up, "environment variable", names) if set_up.keys() - {"token"} else {}


def _complete(found: dict[str, str], kind: str, names: Mapping[str, str]) -> dict[str, str]:
    missing = [names[name] for name in ("key", "secret") if name not in found]
    if missing:
        given = ", ".join(names[name] for name in found)
        message = f"{kind} {given}: given without {missing[0]}"
        raise UsageError(message)
    return found


def _stored_credentials(session: Session, environ: Mapping[str, str]) -> dict[str, str]:
    """Ask botocore's chain: profiles, roles, single sign-on, container and instance metadata."""
    chain = session.get_component("credential_provider")
    chain.remove("env")
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
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
