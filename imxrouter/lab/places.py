"""Where a laboratory listens: loopback addresses of its own with the standard ports, else free ports."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

#: The standard port of links; that of metrics in our configuration; and one that everybody may open for DNS.
LINK_PORT: Final = 6490
METRICS_PORT: Final = 9464
DNS_PORT: Final = 5353

#: A name in Linux's abstract namespace. Whoever holds it has the addresses below; a second laboratory on the
#: same machine gets free ports instead, so that the two never race for the same ones.
_FIRST: Final = "\0imxrouter-lab"


@dataclass(frozen=True, slots=True)
class Place:
    """An IP address and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of a laboratory listens.

    Attributes:
        gateway: links of the gateway.
        gateway_metrics: its metrics and health.
        aggregator: links of the aggregator.
        aggregator_metrics: its metrics and health.
        dns: the name server, over UDP and TCP.
    """

    gateway: Place
    gateway_metrics: Place
    aggregator: Place
    aggregator_metrics: Place
    dns: Place


class Surveyor:
    """Chooses places; holds the claim to the standard ones until it is closed."""

    def __init__(self) -> None:
        self._claim: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._given: set[Place] = set()
        try:
            self._claim.bind(_FIRST)
        except OSError:
            self.close()

    def survey(self) -> Places:
        """Choose every place."""
        return Places(
            gateway=self._choose("127.0.0.2", LINK_PORT),
            gateway_metrics=self._choose("127.0.0.2", METRICS_PORT),
            aggregator=self._choose("127.0.0.3", LINK_PORT),
            aggregator_metrics=self._choose("127.0.0.3", METRICS_PORT),
            dns=self._choose("127.0.0.4", DNS_PORT),
        )

    def close(self) -> None:
        """Let another laboratory have the standard places."""
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _choose(self, host: str, port: int) -> Place:
        wanted = Place(host, port)
        if self._claim is None or not is_free(wanted):
            wanted = self._free_port()
        self._given.add(wanted)
        return wanted

    def _free_port(self) -> Place:
        """A port of 127.0.0.1 that is free for TCP and UDP at this moment and was not given before."""
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind(("127.0.0.1", 0))
                place = Place("127.0.0.1", probe.getsockname()[1])
            if place not in self._given and is_free(place):
                return place


def is_free(place: Place) -> bool:
    """Say whether both TCP and UDP can listen there now."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:  # as Twisted does: old connections in TIME_WAIT do not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((place.host, place.port))
            except OSError:
                return False
    return True


def answers(place: Place) -> bool:
    """Say whether somebody takes TCP connections there."""
    with suppress(OSError), socket.create_connection((place.host, place.port), timeout=0.5):
        return True
    return False
