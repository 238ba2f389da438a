"""Results of a run that never was."""

from __future__ import annotations

from bench.results import Absence, PeerFacts, Results, Row

CELL = "100 x 1 KB"


def row(peer: str, values: tuple[float, ...], cell: str = CELL) -> Row:
    """Return how many files a second *peer* gave."""
    return Row("files", cell, "cold", "files/s", True, peer, values)


RESULTS = Results(
    machine={"kernel": "6.18"},
    notes=["a note"],
    peers={"juicefs": PeerFacts("1.4", "juicefs mount"), "headrace": PeerFacts("0.1", "as it is")},
    rows=[
        row("native", (900.0, 1000.0, 1100.0)),
        row("headrace", (190.0, 200.0, 210.0)),
        row("juicefs", (45.0, 50.0, 55.0)),
        Row("files", CELL, "cold", "server CPU us/file", False, "native", (0.0, 0.0, 0.0)),
        Row("files", CELL, "cold", "server CPU us/file", False, "headrace", (10.0, 11.0, 9.0)),
        Row("files", CELL, "cold", "server CPU us/file", False, "juicefs", (20.0, 22.0, 18.0)),
    ],
    absences=[Absence("files", CELL, "s3fs", "no s3fs here")],
)
