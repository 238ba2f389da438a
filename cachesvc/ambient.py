"""Which variables of an environment hold one user's credentials, or say where they lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

_CREDENTIAL_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "GCLOUD_", "FSSPEC_")

NO_AMBIENT_CREDENTIALS: Mapping[str, str] = MappingProxyType(
    {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
)
"""With these a process finds no credentials but those that it is given."""


def credentials_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of *environ* that belong with one user's mounts."""
    return {n: v for n, v in environ.items() if n.startswith(_CREDENTIAL_PREFIXES)}


def without_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a process for everybody's mounts may start with."""
    return {n: v for n, v in environ.items() if not n.startswith(_CREDENTIAL_PREFIXES)}
