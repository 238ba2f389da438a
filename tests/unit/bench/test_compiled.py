from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from bench.compiled import OURS, compile_packages


def test_packages_are_compiled_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    module = tmp_path / "compiled_here" / "inner" / "module.py"
    module.parent.mkdir(parents=True)
    (module.parent.parent / "__init__.py").touch()
    compiled = Path(cache_from_source(str(module)))
    contents = set()
    for second, text in enumerate(("ANSWER = 41\n", "ANSWER = 42\n")):
        module.write_text(text)
        os.utime(module, (second, second))  # of which whole seconds count
        compile_packages(["compiled_here"])
        contents.add(compiled.read_bytes())
    assert len(contents) == 2


def test_all_of_our_packages_are_found() -> None:
    compile_packages(OURS)
    for name in OURS:
        init = import_module(name).__file__
        assert init is not None
        assert Path(cache_from_source(init)).exists()
