"""What an installation promises of itself: privileges, paths, updates, resources."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from csi.attributes import parse_attributes
from csi.cli import csi, node
from csi.config import DRIVER_NAME, DriverConfig, parse_endpoint, read_allow_list
from csi.policy import check_allowed
from tests.unit.csi.manifests import (
    DEPLOY,
    EXAMPLES,
    POD_TEMPLATES,
    RENDERED,
    Installation,
    mib,
    objects_in,
)
from vfs.cli.keeper import keeper
from vfs.cli.mounter import mounter

NODE, MOUNTER, CONTROLLER = "headrace-csi-node", "headrace-mounter", "headrace-csi-controller"
DRIVER_SETTINGS, MOUNTER_SETTINGS = "headrace-csi-settings", "headrace-mounter-settings"
SERVICES_MIB = 640
"""Of the mounter's memory, for what is not a worker: 125 MiB at rest, 128 of ranges in flight, the
eviction policy's million chunks."""


@pytest.fixture(params=sorted(RENDERED))
def installed(request: pytest.FixtureRequest) -> Installation:
    return Installation.read(request.param)


@pytest.fixture(scope="module")
def full() -> Installation:
    return Installation.read("full")


def driver_object(installed: Installation) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = installed.named("CSIDriver", DRIVER_NAME)["spec"]
    return spec


def test_what_cannot_be_changed_of_the_driver_object_is_right(installed: Installation) -> None:
    spec = driver_object(installed)
    assert spec["attachRequired"] is False
    assert sorted(spec["volumeLifecycleModes"]) == ["Ephemeral", "Persistent"]
    assert (spec["fsGroupPolicy"], spec["storageCapacity"]) == ("None", False)
    assert spec["seLinuxMount"] is False


def test_pod_info_is_trusted_because_the_kubelet_sends_it(installed: Installation) -> None:
    assert driver_object(installed)["podInfoOnMount"] is True
    assert installed.settings(DRIVER_SETTINGS)["HEADRACE_CSI_TRUST_POD_INFO"] == "true"


def test_openshift_lets_restricted_pods_use_inline_volumes(installed: Installation) -> None:
    labels = installed.named("CSIDriver", DRIVER_NAME)["metadata"]["labels"]
    assert labels["security.openshift.io/csi-ephemeral-volume-profile"] == "restricted"


def test_tokens_are_asked_for_only_with_workload_identity(full: Installation) -> None:
    assert "tokenRequests" not in driver_object(Installation.read("base"))
    assert driver_object(Installation.read("base"))["requiresRepublish"] is False
    spec, settings = driver_object(full), full.settings(DRIVER_SETTINGS)
    assert spec["requiresRepublish"] is True
    assert spec["serviceAccountTokenInSecrets"] is True
    assert [each["audience"] for each in spec["tokenRequests"]] == [
        settings["HEADRACE_CSI_TOKEN_AUDIENCE"]
    ]
    assert "HEADRACE_CSI_TOKENS_FROM_CONTEXT" not in settings


def test_only_csi_node_is_privileged(installed: Installation) -> None:
    privileged = [
        (workload, container["name"])
        for workload, container in installed.containers()
        if container["securityContext"].get("privileged")
    ]
    assert privileged == [(NODE, "csi-node")]


def test_everything_else_has_no_privilege_to_lose(installed: Installation) -> None:
    for workload, container in installed.containers():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        if container["name"] == "csi-node":
            continue
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert installed.pod(workload)["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_the_mounter_gets_two_directories_of_the_host_and_no_token(
    installed: Installation,
) -> None:
    pod, settings = installed.pod(MOUNTER), installed.settings(MOUNTER_SETTINGS)
    paths = [each["hostPath"]["path"] for each in pod["volumes"] if "hostPath" in each]
    assert sorted(paths) == sorted(
        [settings["HEADRACE_RUNTIME_DIR"], settings["HEADRACE_CACHE_DIR"]]
    )
    assert pod["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()


def test_both_sides_mean_the_same_directories_and_user(installed: Installation) -> None:
    driver, serving = installed.settings(DRIVER_SETTINGS), installed.settings(MOUNTER_SETTINGS)
    assert driver["HEADRACE_CSI_LINK_DIR"] == serving["HEADRACE_RUNTIME_DIR"]
    assert driver["HEADRACE_CSI_CACHE_DIR"] == serving["HEADRACE_CACHE_DIR"]
    user = installed.pod(MOUNTER)["securityContext"]["runAsUser"]
    assert driver["HEADRACE_CSI_MOUNTER_UID"] == str(user)


def mounted_paths(pod: Mapping[str, Any], container: Mapping[str, Any]) -> dict[str, str]:
    """Return path in the container → path on the host."""
    host = {each["name"]: each["hostPath"]["path"] for each in pod["volumes"] if "hostPath" in each}
    return {
        each["mountPath"]: host[each["name"]]
        for each in container["volumeMounts"]
        if each["name"] in host
    }


@pytest.mark.parametrize(("workload", "name"), [(NODE, "csi-node"), (MOUNTER, "mounter")])
def test_directories_have_the_same_path_inside_as_on_the_host(
    installed: Installation, workload: str, name: str
) -> None:
    paths = mounted_paths(installed.pod(workload), installed.container(workload, name))
    assert paths
    assert list(paths) == list(paths.values())


def test_every_directory_of_the_settings_is_a_mount(installed: Installation) -> None:
    paths = mounted_paths(installed.pod(NODE), installed.container(NODE, "csi-node"))
    for key, value in installed.settings(DRIVER_SETTINGS).items():
        if key.endswith("_DIR"):
            assert any(Path(value).is_relative_to(path) for path in paths), key


def test_mounts_leave_the_container_where_they_are_made(installed: Installation) -> None:
    mounts = installed.container(NODE, "csi-node")["volumeMounts"]
    both_ways = {each["mountPath"] for each in mounts if "mountPropagation" in each}
    settings = installed.settings(DRIVER_SETTINGS)
    assert both_ways == {
        settings["HEADRACE_CSI_KUBELET_DIR"],
        settings["HEADRACE_CSI_STATE_DIR"],
    }
    assert {each.get("mountPropagation") for each in mounts} == {None, "Bidirectional"}


def test_sockets_are_renamed_within_one_mount(installed: Installation) -> None:
    config = config_of(installed.settings(DRIVER_SETTINGS))
    paths = mounted_paths(installed.pod(NODE), installed.container(NODE, "csi-node"))
    for path in (config.endpoint, config.draft_dir, config.registration_socket):
        holding = [each for each in paths if path.is_relative_to(each)]
        assert holding == [str(config.kubelet_dir)]


@pytest.mark.parametrize("workload", [NODE, MOUNTER])
def test_updates_come_to_a_part_of_the_nodes_at_a_time(
    installed: Installation, workload: str
) -> None:
    assert installed.named("DaemonSet", workload)["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "10%", "maxSurge": 0},
    }


@pytest.mark.parametrize("workload", [NODE, MOUNTER])
def test_every_node_has_the_driver_whatever_its_taints(
    installed: Installation, workload: str
) -> None:
    pod = installed.pod(workload)
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_the_mounter_may_wait_for_a_driver_that_holds_its_mounts(installed: Installation) -> None:
    grace = float(installed.settings(MOUNTER_SETTINGS)["HEADRACE_GRACE_SECONDS"])
    assert installed.pod(MOUNTER)["terminationGracePeriodSeconds"] >= grace + 30
    assert installed.pod(MOUNTER)["shareProcessNamespace"] is True


def test_memory_is_asked_for_as_much_as_may_be_used(installed: Installation) -> None:
    for _workload, container in installed.containers():
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert "cpu" not in resources["limits"]


def test_mounts_are_refused_before_the_mounter_runs_out_of_memory(installed: Installation) -> None:
    limit = mib(installed.container(MOUNTER, "mounter")["resources"]["limits"]["memory"])
    budget = int(installed.settings(DRIVER_SETTINGS)["HEADRACE_CSI_MEMORY_BUDGET_BYTES"])
    assert budget >> 20 == limit - SERVICES_MIB


def test_restarts_are_a_matter_of_healthz(installed: Installation) -> None:
    container = installed.container(NODE, "csi-node")
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert "readinessProbe" not in container
    (port,) = container["ports"]
    settings = installed.settings(DRIVER_SETTINGS)
    assert str(port["containerPort"]) == settings["HEADRACE_CSI_HEALTH_PORT"]


def test_the_driver_may_write_events_and_nothing_else() -> None:
    assert Installation.read("base").rules(NODE) == {("", "events", "create")}


def test_with_a_startup_taint_it_may_change_its_own_node_too(full: Installation) -> None:
    assert full.rules(NODE) == {
        ("", "events", "create"),
        ("", "nodes", "get"),
        ("", "nodes", "patch"),
    }
    policy = full.named("ValidatingAdmissionPolicy", NODE)["spec"]
    (subject,) = full.named("ClusterRoleBinding", NODE)["subjects"]
    user = f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    assert user in policy["matchConditions"][0]["expression"]
    assert policy["failurePolicy"] == "Fail"
    taint = full.settings(DRIVER_SETTINGS)["HEADRACE_CSI_STARTUP_TAINT"]
    assert any(f"'{taint}'" in each["expression"] for each in policy["validations"])
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["nodes"], ["UPDATE"])


def test_nobody_lists_or_watches_pods_or_nodes(full: Installation) -> None:
    allowed = {(what, verb) for role in (NODE, CONTROLLER) for _, what, verb in full.rules(role)}
    assert not allowed & {
        (what, verb) for what in ("pods", "nodes", "secrets", "*") for verb in ("list", "watch")
    }


def test_the_driver_is_told_that_there_is_a_controller(full: Installation) -> None:
    assert full.settings(DRIVER_SETTINGS)["HEADRACE_CSI_CONTROLLER"] == "true"
    container = full.container(CONTROLLER, "controller")
    variables = {each["name"]: each["value"] for each in container["env"]}
    sidecar = full.container(CONTROLLER, "csi-provisioner")
    socket = parse_endpoint(variables["CSI_ENDPOINT"])
    assert f"--csi-address={socket}" in sidecar["args"]


def test_the_allow_list_is_found_and_read(full: Installation) -> None:
    path = Path(full.settings(DRIVER_SETTINGS)["HEADRACE_CSI_DATASETS"])
    mounts = full.container(NODE, "csi-node")["volumeMounts"]
    assert str(path.parent) in {each["mountPath"] for each in mounts}
    assert path.name in full.settings("headrace-datasets")
    allowed = read_allow_list(DEPLOY / "components" / "allow-list" / path.name)
    check_allowed(allowed, "team-vision", "s3://shared/imagenet-21k")


def test_metrics_are_read_from_the_pods_that_have_them(full: Installation) -> None:
    monitor = full.named("PodMonitor", NODE)["spec"]
    labels = full.named("DaemonSet", NODE)["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["port"] == full.container(NODE, "csi-node")["ports"][0]["name"]


UNPARSED = {"endpoint", "datasets", "log_level"}
"""What the command makes of its options before it has a DriverConfig."""


def options_of(command: click.Command, prefix: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """Return what a command reads of its environment; raises UsageError for what is wrong."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(key, value)
        return command.make_context("command", [], auto_envvar_prefix=prefix).params


def config_of(settings: Mapping[str, str]) -> DriverConfig:
    """Return what `headrace csi node` makes of a ConfigMap."""
    said = options_of(node, "HEADRACE_CSI", {**settings, "HEADRACE_CSI_NODE_NAME": "node-1"})
    given = {key: value for key, value in said.items() if key not in UNPARSED}
    return DriverConfig(parse_endpoint(said["endpoint"]), **given)


def test_the_driver_takes_its_settings(installed: Installation) -> None:
    config = config_of(installed.settings(DRIVER_SETTINGS))
    assert config.endpoint == config.kubelet_dir / "plugins" / DRIVER_NAME / "csi.sock"
    assert config.kube_api


def test_the_mounter_takes_its_settings(installed: Installation) -> None:
    said = options_of(mounter, "HEADRACE", installed.settings(MOUNTER_SETTINGS))
    settings = installed.settings(MOUNTER_SETTINGS)
    assert str(said["link"]) == settings["HEADRACE_RUNTIME_DIR"]
    assert str(said["cache_dir"]) == settings["HEADRACE_CACHE_DIR"]
    assert said["cache_size"] == {"50G": 50 << 30, "2T": 2 << 40}[settings["HEADRACE_CACHE_SIZE"]]
    assert str(said["grace_seconds"]) == f"{float(settings['HEADRACE_GRACE_SECONDS'])}"


def test_every_container_of_ours_is_started_by_a_command_that_exists(
    installed: Installation,
) -> None:
    commands: dict[str, click.Command] = {
        "csi-node": csi,
        "controller": csi,
        "mounter": mounter,
        "keeper": keeper,
    }
    for _workload, container in installed.containers():
        command = commands.get(container["name"])
        if command is None:
            assert container["image"].startswith("registry.k8s.io/")
            continue
        _name, *words = [word for word in words_of(container) if word != "headrace"]
        if isinstance(command, click.Group):
            assert set(words) <= command.commands.keys()
        else:
            known = {option for each in command.params for option in each.opts}
            assert set(words) <= known


def words_of(container: Mapping[str, Any]) -> list[str]:
    return [*container.get("command", []), *container.get("args", [])]


def test_images_are_pinned_in_one_place() -> None:
    project = tomllib.loads((DEPLOY.parents[1] / "pyproject.toml").read_text())["project"]
    base = yaml.safe_load((DEPLOY / "base" / "kustomization.yaml").read_text())
    assert base["images"] == [
        {"name": "headrace", "newName": "headrace", "newTag": project["version"]}
    ]
    for path in [*DEPLOY.glob("base/*.yaml"), *DEPLOY.glob("components/*/*.yaml")]:
        for each in objects_in(path):
            if each["kind"] in POD_TEMPLATES:
                containers = each["spec"]["template"]["spec"]["containers"]
                assert not any(":" in one.get("image", "") for one in containers), path
    for _workload, container in Installation.read("full").containers():
        name, _, tag = container["image"].rpartition(":")
        assert name
        assert tag != "latest"


def example_volumes() -> list[Mapping[str, Any]]:
    """Return the inline volumes and the PersistentVolumes' sources of all examples."""
    found = []
    for path in EXAMPLES:
        for each in objects_in(path):
            spec = each.get("spec", {})
            pod = spec.get("template", {}).get("spec", spec)
            found += [one["csi"] for one in pod.get("volumes", []) if "csi" in one]
            found += [spec["csi"]] if each["kind"] == "PersistentVolume" else []
    return found


def test_examples_name_attributes_that_the_driver_knows() -> None:
    volumes = example_volumes()
    assert len(volumes) >= 5
    for volume in volumes:
        assert volume["driver"] == DRIVER_NAME
        parse_attributes(volume["volumeAttributes"])
