"""The driver's manifests as Kubernetes reads them: what `kubectl kustomize` made of the sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[3] / "csi" / "deploy"
SOURCES = {"base": DEPLOY / "base", "full": DEPLOY / "overlays" / "full"}
RENDERED = {name: DEPLOY / "rendered" / f"{name}.yaml" for name in SOURCES}
EXAMPLES = sorted((DEPLOY / "examples").glob("*.yaml"))
POD_TEMPLATES = ("DaemonSet", "Deployment", "Job")

Object = Mapping[str, Any]


@cache
def objects_in(path: Path) -> tuple[Object, ...]:
    """Return the objects of one file, which nobody changes."""
    return tuple(each for each in yaml.safe_load_all(path.read_text()) if each is not None)


@dataclass(frozen=True, slots=True)
class Installation:
    """All objects of one of `RENDERED`."""

    objects: tuple[Object, ...]

    @classmethod
    def read(cls, name: str) -> Installation:
        """Return the installation *name*."""
        return cls(objects_in(RENDERED[name]))

    def of_kind(self, *kinds: str) -> list[Object]:
        """Return the objects of some kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object:
        """Return one object; a generated ConfigMap without the digest in its name."""
        (found,) = (
            each
            for each in self.of_kind(kind)
            if each["metadata"]["name"] == name
            or (kind == "ConfigMap" and each["metadata"]["name"].rpartition("-")[0] == name)
        )
        return found

    def pod(self, workload: str) -> Mapping[str, Any]:
        """Return the pod template's spec of the workload *workload*."""
        (found,) = (each for each in self.of_kind(*POD_TEMPLATES) if name_of(each) == workload)
        spec: Mapping[str, Any] = found["spec"]["template"]["spec"]
        return spec

    def containers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the name of each workload with each of its containers."""
        for workload in self.of_kind(*POD_TEMPLATES):
            for container in workload["spec"]["template"]["spec"]["containers"]:
                yield name_of(workload), container

    def container(self, workload: str, name: str) -> Mapping[str, Any]:
        """Return one container."""
        (found,) = (each for each in self.pod(workload)["containers"] if each["name"] == name)
        return dict(found)

    def settings(self, name: str) -> Mapping[str, str]:
        """Return what a ConfigMap says."""
        data: Mapping[str, str] = self.named("ConfigMap", name)["data"]
        return data

    def rules(self, role: str) -> set[tuple[str, str, str]]:
        """Return what a ClusterRole allows, as (group, resource, verb)."""
        return {
            (group, resource, verb)
            for rule in self.named("ClusterRole", role)["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }


def name_of(each: Object) -> str:
    """Return an object's name."""
    return str(each["metadata"]["name"])


def mib(quantity: str) -> int:
    """Return a Kubernetes quantity of memory in MiB."""
    units = {"Mi": 1, "Gi": 1024}
    return int(quantity[:-2]) * units[quantity[-2:]]
