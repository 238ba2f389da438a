"""All that must be known to serve a mount, but its descriptor: what every holder of one keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass

from vfs.mounting.spec import MountSpec


@dataclass(frozen=True, slots=True)
class MountRecord:
    """A live mount; `init` is its connection's first request, `connection` the kernel's number."""

    spec: MountSpec
    init: bytes
    connection: int

    @property
    def key(self) -> str:
        """The mount's name among all of its user's."""
        return self.spec.key

    def to_json(self) -> str:
        """Return the record as one line of JSON, secrets included."""
        return json.dumps(
            {
                "spec": self.spec.to_json(),
                "init": self.init.hex(),
                "connection": self.connection,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> MountRecord:
        """Return the record that `to_json` wrote."""
        fields = json.loads(text)
        return cls(
            MountSpec.from_json(fields["spec"]),
            bytes.fromhex(fields["init"]),
            fields["connection"],
        )
