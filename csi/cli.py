"""`headrace csi`: the driver's processes. Reads settings, and knows where each is put together."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import click

from csi.config import DRIVER_NAME, MIB, DriverConfig, parse_endpoint, read_allow_list
from csi.errors import ConfigurationError

Command = TypeVar("Command", bound=Callable[..., Any])

DIRECTORY = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
SETTINGS = {"auto_envvar_prefix": "HEADRACE_CSI", "show_default": True}
"""Each parameter is also a variable: state_dir is HEADRACE_CSI_STATE_DIR."""
LEVELS = ("debug", "info", "warning", "error")


def common_options(command: Command) -> Command:
    """Add what each process of the driver is told."""
    for option in (
        click.option(
            "--log-level",
            type=click.Choice(LEVELS),
            default="info",
            help="What is written to stderr.",
        ),
        click.option("--health-port", type=int, help="Serve /healthz and /metrics there."),
        click.option(
            "--driver-name", default=DRIVER_NAME, help="The name that the CSIDriver object has."
        ),
        click.option(
            "--endpoint",
            default="",
            envvar="CSI_ENDPOINT",
            help="Where to serve CSI: unix:///path/to/csi.sock.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def csi() -> None:
    """Run the Kubernetes driver: what the DaemonSet and the Deployment start."""


@csi.command(context_settings=SETTINGS)
@common_options
@click.option("--node-name", default="", help="The node's name, as the API server has it.")
@click.option("--kubelet-dir", type=DIRECTORY, default=Path("/var/lib/kubelet"))
@click.option(
    "--state-dir",
    type=DIRECTORY,
    default=Path("/var/lib/headrace"),
    help="Source mounts and publish records; shared with the host, mounts in both directions.",
)
@click.option(
    "--run-dir",
    type=DIRECTORY,
    default=Path("/run/headrace/csi"),
    help="What holds secrets of mounts; on tmpfs, and this process's alone.",
)
@click.option(
    "--link-dir",
    type=DIRECTORY,
    default=Path("/run/headrace/link"),
    help="Where the mounter is met; made, and given to its user.",
)
@click.option(
    "--cache-dir", type=DIRECTORY, help="The mounter's cache, if it is to be made for its user."
)
@click.option("--mounter-uid", type=int, default=65532, help="The mounter's user.")
@click.option(
    "--registration/--no-registration",
    default=True,
    help="Whether to register with the kubelet, or leave that to a sidecar.",
)
@click.option(
    "--node-identity-allowed/--no-node-identity",
    default=False,
    help="Whether pods without credentials read as the node.",
)
@click.option(
    "--trust-pod-info/--no-trust-pod-info",
    default=True,
    help="Whether the CSIDriver object has podInfoOnMount, so that nobody forges a namespace.",
)
@click.option("--token-audience", help="The audience of tokens, as tokenRequests names it.")
@click.option("--sts-endpoint", help="Where tokens buy credentials, if not at AWS.")
@click.option(
    "--tokens-from-context/--no-tokens-from-context",
    default=False,
    help="Whether the CSIDriver object has tokenRequests, so that nobody forges a token.",
)
@click.option("--datasets", type=FILE, help="Allow-list: JSON or TOML, namespace to datasets.")
@click.option(
    "--memory-budget", "memory_budget_bytes", type=int, help="Bytes; past it mounts are refused."
)
@click.option(
    "--mount-memory",
    "mount_bytes",
    type=int,
    default=40 * MIB,
    help="Bytes that each worker takes of the budget.",
)
@click.option(
    "--grace",
    "grace_seconds",
    type=float,
    default=60.0,
    help="Seconds for which a mount is kept that nobody uses.",
)
@click.option(
    "--hang-budget",
    "hang_budget_seconds",
    type=float,
    default=30.0,
    help="Seconds after which a worker without a sign of life is replaced.",
)
@click.option(
    "--deadline",
    "deadline_seconds",
    type=float,
    default=60.0,
    help="Seconds for which a read may wait for bytes.",
)
@click.option("--workers", type=int, default=1, help="Processes that serve one mount.")
@click.option(
    "--health-rpcs/--no-health-rpcs",
    default=False,
    help="Whether to offer the health calls of CSI 1.13, which are alpha.",
)
@click.option(
    "--controller/--no-controller",
    default=False,
    help="Whether the installation has a controller.",
)
@click.option("--startup-taint", help="Key of the taint to remove once the driver serves.")
@click.option("--kube-api/--no-kube-api", default=False, help="Whether to write events about pods.")
@click.option("--kube-url", help="The API server, if not the one that pods are told of.")
def node(*, log_level: str, endpoint: str, datasets: Path | None, **settings: Any) -> None:  # noqa: ANN401  DriverConfig knows them
    """Publish datasets on this node: the privileged part of the driver."""
    agent = import_root("csi.agent")
    config = DriverConfig(
        parse_endpoint(endpoint),
        datasets=read_allow_list(datasets) if datasets is not None else None,
        version=version("headrace"),
        **settings,
    )
    agent.run_node(config, log_level)


@csi.command(context_settings=SETTINGS)
@common_options
def controller(*, log_level: str, endpoint: str, driver_name: str, health_port: int | None) -> None:
    """Give datasets volume ids, for dynamic provisioning: optional, and needs no privilege."""
    provisioning = import_root("csi.provisioning")
    config = DriverConfig(
        parse_endpoint(endpoint),
        node_name=socket.gethostname(),
        driver_name=driver_name,
        health_port=health_port,
        registration=False,
        controller=True,
        version=version("headrace"),
    )
    provisioning.run_controller(config, log_level)


def import_root(name: str) -> ModuleType:
    """Import what needs gRPC: not every installation has it, and no other command waits for it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is missing; install the driver with pip install 'headrace[csi]'"
        ) from error
