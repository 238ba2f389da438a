"""The driver's settings, as one value that was checked once."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from csi.errors import ConfigurationError

DRIVER_NAME = "csi.headrace.dev"
MAX_SOCKET_PATH = 107
"""What the kernel takes as the path of a unix socket (sockaddr_un)."""
MAX_NODE_NAME_SIZE = 256
MIB = 1 << 20

_DRIVER_NAME = re.compile(r"[A-Za-z]([-.A-Za-z0-9]{0,61}[A-Za-z])?")
_ENDPOINT = re.compile(r"unix:(?://)?(/[^/].*)")
_TAINT_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?"
)
_STS_ENDPOINT = re.compile(r"https?://[^\s@?#]+")
_LEAST = {
    "workers": 1,
    "mount_bytes": 1,
    "grace_seconds": 0,
    "hang_budget_seconds": 1,
    "deadline_seconds": 1,
    "mounter_uid": 0,
}

AllowList = Mapping[str, tuple[str, ...]]
"""Which datasets a namespace may mount: prefixes and globs; the namespace `*` speaks for all."""


@dataclass(frozen=True, slots=True)
class DriverConfig:
    """What one csi-node process was told. Raises ConfigurationError when it cannot work."""

    endpoint: Path
    """Where it serves CSI; the kubelet must see the same path."""
    node_name: str
    driver_name: str = DRIVER_NAME
    kubelet_dir: Path = Path("/var/lib/kubelet")
    state_dir: Path = Path("/var/lib/headrace")
    """Source mounts and publish records; shared with the host, both ways."""
    run_dir: Path = Path("/run/headrace/csi")
    """Specs with their secrets: on tmpfs, and root's."""
    link_dir: Path = Path("/run/headrace/link")
    """Where mounter and keeper are met."""
    cache_dir: Path | None = None
    """Made and given to the mounter's user when it is named."""
    mounter_uid: int = 65532
    registration: bool = True
    health_port: int | None = None
    node_identity_allowed: bool = False
    """Whether a pod without credentials of its own reads as the node."""
    trust_pod_info: bool = True
    """Whether the kubelet sets pod names (podInfoOnMount), so that nobody can forge them."""
    token_audience: str | None = None
    sts_endpoint: str | None = None
    """Where tokens are exchanged for credentials; None: at AWS."""
    tokens_from_context: bool = False
    """Whether the kubelet sets tokens in the volume context, so that nobody can forge them."""
    datasets: AllowList | None = None
    """None allows all object storage to all."""
    memory_budget_bytes: int | None = None
    mount_bytes: int = 40 * MIB
    """What one mount is reckoned to take of the budget."""
    grace_seconds: float = 60.0
    """How long a source mount stays when nobody uses it any more."""
    hang_budget_seconds: float = 30.0
    deadline_seconds: float = 60.0
    workers: int = 1
    health_rpcs: bool = False
    controller: bool = False
    startup_taint: str | None = None
    kube_api: bool = False
    """Whether events are written; the taint needs the API whatever this says."""
    kube_url: str | None = None
    """The API server; None: the one that every pod is told of."""
    version: str = "0"

    def __post_init__(self) -> None:
        """Check everything that can be checked without touching the node."""
        for complaint in _complaints(self):
            raise ConfigurationError(complaint)

    @property
    def registration_socket(self) -> Path:
        """Where the kubelet looks for a plugin to register."""
        return self.kubelet_dir / "plugins_registry" / f"{self.driver_name}-reg.sock"

    @property
    def draft_dir(self) -> Path:
        """Where the socket of `endpoint` is made: beside its directory, which holds it alone."""
        return self.endpoint.parent.parent / f".{self.driver_name}"

    @property
    def source_dir(self) -> Path:
        """Where source mounts are."""
        return self.state_dir / "mounts"

    @property
    def record_dir(self) -> Path:
        """Where publish records are."""
        return self.state_dir / "volumes"

    @property
    def spec_dir(self) -> Path:
        """Where specs with their secrets are."""
        return self.run_dir / "specs"

    @property
    def supervisor_socket(self) -> Path:
        """Where the mounter listens."""
        return self.link_dir / "supervisor"


def _complaints(config: DriverConfig) -> Iterator[str]:
    """Yield what is wrong, the plainest first."""
    if not _DRIVER_NAME.fullmatch(config.driver_name):
        yield (
            f"{config.driver_name!r} is no driver's name: at most 63 letters, digits, '-' and '.', "
            "a letter first and last"
        )
    if not 0 < len(config.node_name.encode()) <= MAX_NODE_NAME_SIZE:
        yield "the node's name is missing or longer than 256 bytes; set HEADRACE_CSI_NODE_NAME"
    if config.startup_taint is not None and not _TAINT_KEY.fullmatch(config.startup_taint):
        yield f"{config.startup_taint!r} is no key of a taint"
    if config.sts_endpoint is not None and not _STS_ENDPOINT.fullmatch(config.sts_endpoint):
        yield "sts_endpoint must be http(s)://HOST[:PORT] and nothing secret"
    yield from _path_complaints(config)
    yield from _number_complaints(config)


def _path_complaints(config: DriverConfig) -> Iterator[str]:
    for path in (
        config.kubelet_dir,
        config.state_dir,
        config.run_dir,
        config.link_dir,
        config.cache_dir,
    ):
        if path is not None and not path.is_absolute():
            yield f"{path} must be an absolute path"
    for path in (config.endpoint, config.registration_socket, config.supervisor_socket):
        if len(bytes(path)) > MAX_SOCKET_PATH:
            yield f"{path} is longer than the path of a socket may be ({MAX_SOCKET_PATH} bytes)"


def _number_complaints(config: DriverConfig) -> Iterator[str]:
    if config.health_port is not None and not 0 < config.health_port < 1 << 16:
        yield f"health_port must be from 1 to 65535, not {config.health_port}"
    for name, least in _LEAST.items():
        if getattr(config, name) < least:
            yield f"{name} must be at least {least}, not {getattr(config, name)}"


def parse_endpoint(text: str) -> Path:
    """Return the socket's path: `unix:///abs/path` or `unix:/abs/path`, and nothing else.

    gRPC takes `unix://p/x` as the path `//p/x`, and the kubelet cannot reach an abstract socket.
    """
    matched = _ENDPOINT.fullmatch(text)
    if matched is None:
        raise ConfigurationError(
            f"the endpoint {text!r} is no unix socket; write unix:///path/to/csi.sock"
        )
    return Path(matched[1])


def read_allow_list(path: Path) -> AllowList:
    """Return the list in a JSON or TOML file: namespace → prefixes or globs of datasets."""
    try:
        text = path.read_text()
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read the allow-list {path}: {error}") from None
    return _checked_allow_list(path, content)


def _checked_allow_list(path: Path, content: object) -> AllowList:
    """Return what was read when it has the shape of an allow-list."""
    if not isinstance(content, dict):
        raise ConfigurationError(f"the allow-list {path} is no table of namespaces")
    for namespace, datasets in content.items():
        if not isinstance(datasets, list) or not all(isinstance(name, str) for name in datasets):
            raise ConfigurationError(
                f"the allow-list {path} must give {namespace!r} a list of datasets"
            )
    return {namespace: tuple(datasets) for namespace, datasets in content.items()}
