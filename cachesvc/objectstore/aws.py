"""The usual AWS settings as plain values: from options, environment, profiles, config files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from cachesvc.errors import UsageError

DEFAULT_REGION = "us-east-1"
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
ADDRESSING_STYLES = ("path", "virtual", "auto")
CREDENTIAL_NAMES = ("key", "secret", "token")


class Stored(Protocol):
    """What is set where options and plain variables say nothing."""

    def region(self) -> str | None:
        """Return the region, if one is set."""

    def endpoint(self) -> str | None:
        """Return the endpoint, that of the environment before that of files."""

    def credentials(self) -> dict[str, str]:
        """Return the credentials, none at all where there are none."""


@dataclass(frozen=True, slots=True)
class NothingStored:
    """The settings of somebody who has no files, and gave all credentials."""

    environ: Mapping[str, str]

    def region(self) -> str | None:
        """Return no region."""
        return None

    def endpoint(self) -> str | None:
        """Return the endpoint that the environment names."""
        return self.environ.get("AWS_ENDPOINT_URL_S3") or self.environ.get("AWS_ENDPOINT_URL")

    def credentials(self) -> dict[str, str]:
        """Return none."""
        return {}


def resolve_s3_options(
    bucket: str, options: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return *options* with everything filled in that a store needs to reach *bucket*.

    An option wins over the environment, and that over the files. Where no credentials are found,
    requests go unsigned.
    """
    stored = _stored(options, environ)
    resolved = {name: value for name, value in options.items() if name != "profile"}
    resolved["region"] = _region(stored, options, environ)
    resolved.update(_endpoint(stored, bucket, resolved))
    resolved.update(_credentials(stored, options, environ))
    return resolved


def _stored(options: Mapping[str, str], environ: Mapping[str, str]) -> Stored:
    profile = options.get("profile") or environ.get("AWS_PROFILE") or None
    home = environ.get("HOME", "~")
    files = {
        "config_file": environ.get("AWS_CONFIG_FILE", f"{home}/.aws/config"),
        "credentials_file": environ.get("AWS_SHARED_CREDENTIALS_FILE", f"{home}/.aws/credentials"),
    }
    is_all_given = _anonymous(options) or _given_credentials(options, environ)
    if is_all_given and profile is None and not any(map(_is_file, files.values())):
        return NothingStored(environ)
    # botocore takes 0.14 s to import, which is half of what a mount takes otherwise.
    from cachesvc.objectstore.awsfiles import AwsFiles  # noqa: PLC0415

    return AwsFiles(profile, files, environ)


def _is_file(path: str) -> bool:
    return os.path.isfile(os.path.expandvars(os.path.expanduser(path)))


def _region(stored: Stored, options: Mapping[str, str], environ: Mapping[str, str]) -> str:
    candidates = (
        options.get("region"),
        environ.get("AWS_REGION"),
        environ.get("AWS_DEFAULT_REGION"),
        stored.region(),
    )
    return next((region for region in candidates if region), DEFAULT_REGION)


def _endpoint(stored: Stored, bucket: str, options: Mapping[str, str]) -> dict[str, str]:
    given = options.get("endpoint_url") or stored.endpoint()
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
    stored: Stored, options: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    if _anonymous(options):
        return {"anon": "true"}
    found = _given_credentials(options, environ) or stored.credentials()
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
