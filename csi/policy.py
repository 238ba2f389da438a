"""Which datasets a namespace may mount. Decides; asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from csi.errors import DeniedError
from csi.place import ALIASES, scheme_of

EVERYBODY = "*"
OBJECT_STORAGE = frozenset({"s3", "gs", "az", "abfs", "abfss", "http", "https"})
"""What may be mounted where no list names it: nothing of the node's own, such as local paths."""

AllowList = Mapping[str, Sequence[str]]


def check_allowed(allowed: AllowList | None, namespace: str, place: str) -> None:
    """Raise DeniedError unless *namespace* may mount what lies at *place*, a canonical one.

    A rule is a place, in whose parts `*`, `?` and `[...]` are wild; it covers everything below.
    None as the list allows all object storage.
    """
    rules = [EVERYBODY] if allowed is None else _rules_for(allowed, namespace)
    if not any(_covers(rule, place) for rule in rules):
        who = f"namespace {namespace!r}" if namespace else "a pod of unknown namespace"
        raise DeniedError(
            f"{place}: {who} may not mount this dataset; "
            "ask the administrator to add it to the driver's allow-list"
        )


def _rules_for(allowed: AllowList, namespace: str) -> list[str]:
    own = allowed.get(namespace, ()) if namespace != EVERYBODY else ()
    return [*own, *allowed.get(EVERYBODY, ())]


def _covers(rule: str, place: str) -> bool:
    """Whether *place* is, or lies below, what *rule* names."""
    if rule == EVERYBODY:
        return scheme_of(place) in OBJECT_STORAGE
    wanted, parts = _parts_of(rule), place.split("/")
    return (
        len(wanted) <= len(parts)
        and wanted[0] == parts[0]
        and all(fnmatchcase(part, pattern) for part, pattern in zip(parts, wanted, strict=False))
    )


def _parts_of(rule: str) -> list[str]:
    """Return a rule's parts, spelled as a canonical place is."""
    if rule.startswith("/"):
        rule = f"file://{rule}"
    scheme, separator, address = rule.rstrip("/").partition("://")
    scheme = ALIASES.get(scheme.lower(), scheme.lower())
    return f"{scheme}{separator}{address}".split("/")
