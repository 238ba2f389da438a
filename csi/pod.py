"""The pod that a volume is for, as the kubelet tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PodInfo:
    """Who asked: a name, never a credential."""

    name: str
    namespace: str
    uid: str
    service_account: str
