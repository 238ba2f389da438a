"""What `csi/README.md` lists is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from csi.attributes import KNOWN
from csi.credentials import SPELLINGS
from csi.metrics import DriverMetrics
from csi.mountmetrics import MountMetrics
from csi.status import CODE_BY_ERROR
from tests.unit.csi.manifests import DEPLOY

README = (DEPLOY.parent / "README.md").read_text()
NOT_FOR_USERS = {"UNIMPLEMENTED"}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    section = re.split(rf"^#+ {heading}$", README, flags=re.MULTILINE)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    _names, _line, *found = table[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_attribute_is_described() -> None:
    assert {name for row in rows("Attributes") for name in quoted(row[0])} == KNOWN


def test_every_key_of_a_secret_is_described_beside_its_other_spellings() -> None:
    described = {
        spelling: quoted(row[1])[0] for row in rows("Secrets") for spelling in quoted("".join(row))
    }
    assert described == SPELLINGS


def test_every_metric_is_described() -> None:
    registry = CollectorRegistry()
    DriverMetrics(registry, "csi.headrace.dev", "1")
    MountMetrics(registry)
    endings = {"counter": "_total", "info": "_info"}
    names = {family.name + endings.get(family.type, "") for family in registry.collect()}
    assert {name for row in rows("Metrics") for name in quoted(row[0])} == names


def test_every_code_that_a_pod_can_show_has_its_remedy() -> None:
    text = "\n".join(row[0] for row in rows("Troubleshooting"))
    codes = {code.name for code in CODE_BY_ERROR.values()} - NOT_FOR_USERS
    assert {code for code in codes if code not in text} == set()


def test_every_component_is_described() -> None:
    described = {name for row in rows("Install") for name in quoted(row[0])}
    assert described == {path.name for path in (DEPLOY / "components").iterdir()}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert Path(DEPLOY.parent, link).exists()
