"""`headrace mounter`: serve mounts that somebody with more privileges makes."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cachesvc.config import CacheConfig
from cachesvc.logs import log_to_stderr
from cachesvc.options import cache_options
from vfs.mounting.nanny import Nanny
from vfs.mounting.role import mounter_environment


@click.command(context_settings={"auto_envvar_prefix": "HEADRACE"})
@click.option(
    "--link",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="HEADRACE_RUNTIME_DIR",
    required=True,
    help="The directory of this user's own in which all sides meet.",
)
@cache_options
@click.option(
    "--grace",
    "grace_seconds",
    type=click.FloatRange(min=0),
    default=240.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait at the end for somebody else to hold what is mounted.",
)
def mounter(link: Path, *, cache: CacheConfig, grace_seconds: float) -> None:
    """Serve mounts that the Kubernetes driver makes. Needs no privileges.

    Runs in the foreground until SIGTERM. It never unmounts anything: whoever serves next goes on
    where this left off.
    """
    log_to_stderr("nanny")
    runtime = {"HEADRACE_RUNTIME_DIR": str(link.absolute())}
    environment = {**os.environ, **runtime, **mounter_environment(cache)}
    Nanny(environment, cache.directory).run(grace_seconds)
