"""fsspec's own suite, as far as it reads. Its scenarios are made in a directory and published."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

from tests.inprocess.conftest import Desk
from vfs.inprocess.filesystem import HeadraceFileSystem

HOME = "home"
SCENARIOS = {
    "bulk": "_bulk_operations_scenario_0",
    "edges": "_glob_edge_cases_files",
    "prefix": "_dir_and_file_with_same_name_prefix",
    "hashed": "_10_files_with_hashed_names",
}


@pytest.fixture(scope="module")
def scenarios(desk: Desk) -> HeadraceFileSystem:
    """All scenarios of the abstract suite, published, each in a directory of its own."""
    published = desk.node.directory / "scenarios"
    place = published / HOME
    local = LocalFileSystem(auto_mkdir=True)
    for name, make in SCENARIOS.items():
        getattr(AbstractFixtures(), make)(local, os.path.join, str(place / name))
    local.touch(str(place / "src" / "file"))
    desk.publish(published)
    return desk.open(published)


class PublishedFixtures(AbstractFixtures):  # type: ignore[misc]  # fsspec has no types
    """The abstract suite's fixtures, of which the remote ones cannot be made by writing."""

    @pytest.fixture
    def fs(
        self, scenarios: HeadraceFileSystem, monkeypatch: pytest.MonkeyPatch
    ) -> HeadraceFileSystem:
        """One test makes two files by itself, which were published before."""
        monkeypatch.setattr(scenarios, "mkdir", lambda _: None)
        monkeypatch.setattr(scenarios, "touch", lambda _: None)
        return scenarios

    @pytest.fixture
    def fs_path(self) -> str:
        return HOME

    @pytest.fixture
    def local_path(self, tmp_path: Path) -> str:
        return str(tmp_path)

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self) -> str:
        return f"{HOME}/bulk/source"

    @pytest.fixture
    def fs_glob_edge_cases_files(self) -> str:
        return f"{HOME}/edges/source"

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self) -> str:
        return f"{HOME}/prefix/source"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self) -> str:
        return f"{HOME}/hashed/source"


class TestGet(PublishedFixtures, AbstractGetTests):  # type: ignore[misc]
    """All of the suite that copies from the filesystem."""
