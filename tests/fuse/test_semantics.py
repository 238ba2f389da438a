"""SEMANTICS.md and the tests say the same."""

from __future__ import annotations

import ast
import errno
import re
from collections import Counter
from pathlib import Path

import vfs
from vfs.serving.errno import ERRNO_BY_ERROR

DOCUMENT = Path(vfs.__file__).with_name("SEMANTICS.md")


def promises() -> list[str]:
    """Return the document's sentences with a bullet, each as one line."""
    found = re.findall(r"^\* (.+(?:\n  .+)*)", DOCUMENT.read_text(), re.MULTILINE)
    return [" ".join(each.split()) for each in found]


def docstrings() -> Counter[str]:
    """Return how often each docstring of a test in this directory occurs, as one line."""
    trees = (ast.parse(path.read_text()) for path in Path(__file__).parent.glob("test_*.py"))
    functions = (node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef))
    tests = (node for node in functions if node.name.startswith("test_"))
    return Counter(" ".join((ast.get_docstring(test) or "").split()) for test in tests)


def test_each_promise_has_one_test() -> None:
    """A sentence that readers may rely on is the docstring of exactly one test."""
    tests = docstrings()
    assert promises()
    assert [promise for promise in promises() if tests[promise] != 1] == []


def test_no_promise_is_made_twice() -> None:
    """Each sentence stands in the document once."""
    assert len(promises()) == len(set(promises()))


def test_the_table_of_errors_is_the_codes() -> None:
    """The document's table has each error of the code's table with its errno, and no others."""
    rows = re.findall(r"^\| (E[A-Z]+) \| .+ \| (\w+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    documented = {error: code for code, error in rows}
    table = {kind.__name__: errno.errorcode[code] for kind, code in ERRNO_BY_ERROR.items()}
    assert documented == table
