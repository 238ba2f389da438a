"""What requests and log lines look like once nothing secret is left in them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

HIDDEN = "***"
MOST_SHOWN = 2000
"""Characters of one request; what kubelet sends stays below it but for tokens."""

_SECRET_NAME = re.compile(r"secret|token|password|credential|access.?key", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # a JSON web token
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{12,}"  # the id of an AWS key
    r"|(?<=://)[^/\s@'\":]+:[^/\s@'\"]*(?=@)"  # user and password of a URL
    r"|(?i:(?<=bearer )|(?<=aws_secret_access_key=)|(?<=aws_session_token=))[^\s'\",]+"
)


class RedactingFormatter(logging.Formatter):
    """Formats records, tracebacks included, without what looks like a secret.

    The second line of defence: nothing here logs a secret knowingly.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines of a traceback."""
        return without_secrets(super().format(record))


def without_secrets(text: str) -> str:
    """Return *text* with everything hidden that has the look of a secret."""
    return _SECRET_TEXT.sub(HIDDEN, text)


def shown(request: Message) -> str:
    """Return a request as one line for the log: all fields but those that carry secrets."""
    return without_secrets(" ".join(_fields(request)))[:MOST_SHOWN]


def _fields(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.GetOptions().debug_redact:
            yield f"{field.name}={HIDDEN}"
        else:
            yield f"{field.name}={_value(field, value)}"


def _value(field: FieldDescriptor, value: object) -> str:
    match value:
        case Message():
            return "{" + " ".join(_fields(value)) + "}"
        case Mapping():
            return _map(value)
        case int() if field.enum_type is not None:
            known = field.enum_type.values_by_number.get(value)
            return known.name if known is not None else str(value)
        case str() | bytes() | int() | float():
            return repr(value)
        case Iterable():
            return "[" + ", ".join(_value(field, item) for item in value) + "]"
        case _:
            raise TypeError(f"no field of a message holds {type(value).__name__}")


def _map(values: Mapping[str, str]) -> str:
    """Show a map of strings; what is named like a secret was put there by mistake or by kubelet."""
    parts = (
        f"{key}: {HIDDEN if _SECRET_NAME.search(key) else value!r}"
        for key, value in sorted(values.items())
    )
    return "{" + ", ".join(parts) + "}"
