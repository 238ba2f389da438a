"""Which datasets a namespace may mount, and where it may ask for them. Decides; asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from csi.errors import DeniedError
from csi.place import ALIASES, canonical_endpoint, scheme_of

EVERYBODY = "*"
REPOSITORY = "repository:"
"""Before a rule: who publishes there is trusted to say what other places hold."""
OWN_REPOSITORY = ".headrace"
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


def check_repository(
    allowed: AllowList | None, namespace: str, dataset: str, repository: str
) -> None:
    """Raise DeniedError unless *namespace* may take snapshots of *dataset* from *repository*.

    A snapshot names objects of the dataset, and the node may have them. Who may publish snapshots,
    but not read all of the dataset, could have the node show them what they may not read.
    """
    trusted = [
        rule.removeprefix(REPOSITORY)
        for rule in _rules_for(allowed or {}, namespace)
        if rule.startswith(REPOSITORY)
    ]
    own = repository == f"{dataset}/{OWN_REPOSITORY}"
    if not own and not any(_covers(rule, repository) for rule in trusted):
        raise DeniedError(
            f"{dataset}: its snapshots are not to be taken from {repository}; drop 'repository', "
            f"or ask the administrator to add '{REPOSITORY}{repository}' to the driver's allow-list"
        )


def check_endpoint(allowed: AllowList | None, namespace: str, endpoint: str) -> None:
    """Raise DeniedError unless *namespace* may have object storage asked at *endpoint*.

    What a rule says of a bucket it says of the one at an endpoint that is known to be good.
    """
    if allowed is None:
        return
    place = canonical_endpoint(endpoint)
    if not any(_covers(rule, place) for rule in _rules_for(allowed, namespace)):
        raise DeniedError(
            f"the endpoint {place} may not be used by namespace {namespace!r}; "
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
