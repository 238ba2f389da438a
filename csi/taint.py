"""Removing the taint that keeps pods away from a node on which the driver does not serve yet."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from itertools import count

from csi.errors import UnavailableError
from csi.kubeapi import Json, KubeApi

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 60.0
TAINTS = "/spec/taints"


async def remove_taint(api: KubeApi, node_name: str, key: str) -> None:
    """Return once the node has no taint *key*; tries for ever, ever more slowly."""
    for delay in delays():
        try:
            operations = removal(await api.node(node_name), key)
            if operations:
                await api.patch_node(node_name, operations)
        except UnavailableError as error:
            log.warning("the taint %s stays for now, trying again in %.0f s: %s", key, delay, error)
            await asyncio.sleep(delay)
        else:
            log.info("node %s has no taint %s %s", node_name, key, "now" if operations else "")
            return


def removal(node: Json, key: str) -> list[Json]:
    """Return the JSON patch that takes the taint *key* off *node*; empty when it has none.

    It applies to the taints that were read, and fails where somebody has changed them since.
    """
    taints = node.get("spec", {}).get("taints") or []
    rest = [taint for taint in taints if taint.get("key") != key]
    if rest == taints:
        return []
    return [
        {"op": "test", "path": TAINTS, "value": taints},
        {"op": "replace", "path": TAINTS, "value": rest},
    ]


def delays() -> Iterator[float]:
    """Yield waits without end, doubling up to a bound, each a little different on each node."""
    for tries in count():
        most = min(FIRST_DELAY_SECONDS * 2 ** min(tries, 16), LONGEST_DELAY_SECONDS)
        yield most * random.uniform(0.5, 1.0)
