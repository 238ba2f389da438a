"""Storage options as fsspec wants them. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def decoded(options: Mapping[str, str]) -> dict[str, Any]:
    """Return options given as text with the values that fsspec expects.

    `true`, `8`, `{"a": 1}` and `"8"` are read as JSON; what is no JSON is a string as it stands.
    """
    return {name: _value(text) for name, text in options.items()}


def _value(text: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False}.get(text, text)
