"""Whether this process belongs to a mounter: one that serves mounts which another process makes.

A mounter has no privileges. An attendant, who has them, mounts, hands the connections over and
makes mounts anew; see `vfs.mounting.attending`. Whatever a mounter starts inherits that it is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from cachesvc.config import CacheConfig
from cachesvc.spawn import config_from_json, config_to_json

MOUNTER_VARIABLE = "HEADRACE_MOUNTER"
CACHE_VARIABLE = "HEADRACE_MOUNTER_CACHE"
KEEPER_VARIABLE = "HEADRACE_KEEPER"
EXTERNAL = "external"


def is_mounter(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether mounts are made by somebody else."""
    return environ.get(MOUNTER_VARIABLE) == "1"


def has_external_keeper(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether the keeper is somebody else's to start."""
    return environ.get(KEEPER_VARIABLE) == EXTERNAL


def mounter_cache(environ: Mapping[str, str] = os.environ) -> CacheConfig:
    """Return the cache through which a mounter reads."""
    return config_from_json(environ[CACHE_VARIABLE])


def mounter_environment(cache: CacheConfig) -> dict[str, str]:
    """Return the variables that make a process and all that it starts a mounter with *cache*."""
    return {
        MOUNTER_VARIABLE: "1",
        KEEPER_VARIABLE: EXTERNAL,
        CACHE_VARIABLE: config_to_json(cache),
    }
