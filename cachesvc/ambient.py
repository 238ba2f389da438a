"""Which variables of an environment hold one user's credentials, or say where they lie."""

from __future__ import annotations

from collections.abc import Mapping

_CREDENTIAL_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "GCLOUD_", "FSSPEC_")


def credentials_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of *environ* that belong with one user's mounts."""
    return {n: v for n, v in environ.items() if n.startswith(_CREDENTIAL_PREFIXES)}


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a process for everybody's mounts may start with."""
    return {n: v for n, v in environ.items() if not n.startswith(_CREDENTIAL_PREFIXES)}
