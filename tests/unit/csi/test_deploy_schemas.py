"""The manifests against Kubernetes' published schemas, the settings against ours."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml

from csi.cli import node
from tests.unit.csi.manifests import (
    DEPLOY,
    EXAMPLES,
    RENDERED,
    SOURCES,
    Installation,
    Object,
    objects_in,
)
from vfs.cli.mounter import mounter

VERSIONS = [f"1.{minor}.0" for minor in range(30, 38)]
LAST_WITHOUT_TOKENS_IN_SECRETS = "1.34.0"
NOT_KUBERNETES = {"PodMonitor"}
SETTINGS = ("headrace-csi-settings", "headrace-mounter-settings")


def check(objects: Iterable[Object], version: str) -> None:
    """Check objects, unknown fields included, against the schemas of one version."""
    for each in objects:
        if each["kind"] not in NOT_KUBERNETES:
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_base_is_valid_in_every_version(version: str) -> None:
    check(objects_in(RENDERED["base"]), version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_examples_are_valid_in_every_version(version: str) -> None:
    for path in EXAMPLES:
        check(objects_in(path), version)


@pytest.mark.parametrize(
    "version", [version for version in VERSIONS if version > LAST_WITHOUT_TOKENS_IN_SECRETS]
)
def test_all_components_are_valid_in_versions_with_tokens_in_secrets(version: str) -> None:
    check(objects_in(RENDERED["full"]), version)


def test_before_that_the_token_component_is_another() -> None:
    with pytest.raises(kubernetes_validate.ValidationError, match="serviceAccountToken"):
        check(objects_in(RENDERED["full"]), LAST_WITHOUT_TOKENS_IN_SECRETS)


def kustomized(directory: Path) -> str:
    done = subprocess.run(
        ["kubectl", "kustomize", str(directory)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")


@needs_kubectl
@pytest.mark.parametrize("name", sorted(SOURCES))
def test_what_is_rendered_is_what_the_sources_say(name: str) -> None:
    assert kustomized(SOURCES[name]) == RENDERED[name].read_text(), "run 'make manifests'"


@needs_kubectl
def test_the_other_components_fit_the_base_too(tmp_path: Path) -> None:
    """Those that exclude one of the full overlay."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    overlay = tmp_path / "deploy" / "overlays" / "other"
    overlay.mkdir()
    components = ["registrar-sidecar", "workload-identity-before-1.35"]
    (overlay / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": ["../../base"],
                "components": [f"../../components/{each}" for each in components],
            }
        )
    )
    objects = list(yaml.safe_load_all(kustomized(overlay)))
    for version in (VERSIONS[0], LAST_WITHOUT_TOKENS_IN_SECRETS):
        check(objects, version)
    made = Installation(tuple(objects))
    settings = made.settings("headrace-csi-settings")
    assert settings["HEADRACE_CSI_REGISTRATION"] == "false"
    assert settings["HEADRACE_CSI_TOKENS_FROM_CONTEXT"] == "true"
    sidecar = made.container("headrace-csi-node", "csi-node-driver-registrar")
    path = settings["CSI_ENDPOINT"].removeprefix("unix://")
    assert f"--kubelet-registration-path={path}" in sidecar["args"]
    jsonschema.validate(all_settings(made), schema())


def schema() -> Mapping[str, Any]:
    read: Mapping[str, Any] = json.loads((DEPLOY / "settings.schema.json").read_text())
    return read


def all_settings(installed: Installation) -> dict[str, Mapping[str, str]]:
    return {name: installed.settings(name) for name in SETTINGS}


@pytest.mark.parametrize("name", sorted(RENDERED))
def test_the_settings_fit_their_schema(name: str) -> None:
    jsonschema.validate(all_settings(Installation.read(name)), schema())


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        ("headrace-csi-settings", "HEADRACE_CSI_STATE_DIRECTORY", "/x"),
        ("headrace-csi-settings", "HEADRACE_CSI_KUBE_API", "yes please"),
        ("headrace-csi-settings", "HEADRACE_CSI_STATE_DIR", "relative"),
        ("headrace-mounter-settings", "HEADRACE_CACHE_SIZE", "much"),
        ("headrace-mounter-settings", "HEADRACE_WORKERS", "2"),
    ],
)
def test_the_schema_refuses_what_nobody_knows_or_can_be(
    settings: str, key: str, value: str
) -> None:
    said = all_settings(Installation.read("base"))
    changed = {**said, settings: {**said[settings], key: value}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, schema())


def variables_of(command: click.Command) -> set[str]:
    """Return the variables by which a command's options can be said."""
    prefix = command.context_settings["auto_envvar_prefix"]
    return {
        str(option.envvar or f"{prefix}_{option.name}".upper())
        for option in command.params
        if isinstance(option, click.Option)
    }


@pytest.mark.parametrize(
    ("settings", "command"),
    [("headrace-csi-settings", node), ("headrace-mounter-settings", mounter)],
    ids=["node", "mounter"],
)
def test_the_schema_knows_every_option_and_no_other(settings: str, command: click.Command) -> None:
    assert set(schema()["properties"][settings]["properties"]) == variables_of(command)
