"""The ways to remote domains: which links may carry what from a domain of ours.

An entry exists because a claim of ours was proved on the link (architecture section 3, rule 3). Each link's
own entries are indexed, so that a link or a domain that goes costs what it used, not what the router knows.
"""

from __future__ import annotations

from typing import Final

from imxrouter.switch.ports import Port
from imxrouter.wire.registry import RecordType

#: Type of the record in which one of a foreign protocol's own words goes through this process; no link
#: brings it.
STANZA: Final = RecordType.STANZA.value


#: Remote domain -> source domain of ours -> links.
_Table = dict[bytes, dict[bytes, list[Port]]]


class Ways(_Table):
    """Remote domain -> source domain of ours -> links over which it may be sent.

    The hot path reads it as the dictionary it is; changes go through the methods. What a foreign protocol's
    streams carry stands in `streams`: its own stanzas always go there. Everything else goes there only while
    that protocol is the one chosen for the domain (`admit`), never because a stream happens to be open.

    Attributes:
        streams: the same of links that carry stanzas.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams: _Table = {}
        self._admitted: set[bytes] = set()
        self._of_port: dict[int, set[tuple[bytes, bytes]]] = {}

    def open(self, to_domain: bytes, from_domain: bytes, port: Port) -> None:
        """The link may carry requests from a domain of ours to a remote one."""
        pairs = self._of_port.setdefault(port.number, set())
        if (to_domain, from_domain) in pairs:
            return
        pairs.add((to_domain, from_domain))
        if port.carries_stanzas:
            _enter(self.streams, to_domain, from_domain, port)
        else:
            self.dismiss(to_domain)  # the peer speaks the router's own protocol: nothing else takes turns
        if not port.carries_stanzas or to_domain in self._admitted:
            _enter(self, to_domain, from_domain, port)

    def admit(self, to_domain: bytes) -> None:
        """What is chosen for the domain is the protocol of its streams: they carry everything to it.

        It holds until `dismiss`, or until a link of the router's own protocol leads there.
        """
        if to_domain not in self._admitted:
            self._admitted.add(to_domain)
            for from_domain, ports in self.streams.get(to_domain, {}).items():
                for port in ports:
                    _enter(self, to_domain, from_domain, port)

    def dismiss(self, to_domain: bytes) -> None:
        """That choice holds no longer: its streams carry stanzas only."""
        if to_domain in self._admitted:
            self._admitted.discard(to_domain)
            for from_domain, ports in self.streams.get(to_domain, {}).items():
                for port in ports:
                    _leave(self, to_domain, from_domain, port)

    def leads_to(self, to_domain: bytes) -> bool:
        """Whether any link leads to a remote domain."""
        return to_domain in self or to_domain in self.streams

    def carries(self, to_domain: bytes, from_domain: bytes, port: Port) -> bool:
        """Whether the link carries what that domain of ours sends there."""
        return (to_domain, from_domain) in self._of_port.get(port.number, ())

    def end(self, to_domain: bytes, from_domain: bytes, port: Port) -> None:
        """The link carries that pair no longer; nothing happens where it did not."""
        pairs = self._of_port.get(port.number, set())
        if (to_domain, from_domain) not in pairs:
            return
        pairs.discard((to_domain, from_domain))
        if not pairs:
            del self._of_port[port.number]
        if port.carries_stanzas:
            _leave(self.streams, to_domain, from_domain, port)
        if not port.carries_stanzas or to_domain in self._admitted:
            _leave(self, to_domain, from_domain, port)

    def of_port(self, port: Port) -> set[tuple[bytes, bytes]]:
        """Remote domain and domain of ours of everything that the link carries."""
        return set(self._of_port.get(port.number, ()))

    def end_to(self, to_domain: bytes, port: Port) -> None:
        """The link leads to that remote domain no longer."""
        for remote, ours in list(self._of_port.get(port.number, ())):
            if remote == to_domain:
                self.end(remote, ours, port)

    def end_from(self, from_domain: bytes, port: Port) -> None:
        """The link carries nothing of that domain of ours any longer."""
        for remote, ours in list(self._of_port.get(port.number, ())):
            if ours == from_domain:
                self.end(remote, ours, port)

    def end_all(self, port: Port) -> None:
        """The link carries nothing any longer."""
        for remote, ours in list(self._of_port.get(port.number, ())):
            self.end(remote, ours, port)

    def end_source(self, from_domain: bytes) -> set[int]:
        """A domain of ours goes: no link carries it to anybody; returns the numbers of those that did."""
        used: set[int] = set()
        for table in (self, self.streams):
            for remote, by_source in list(table.items()):
                for port in list(by_source.get(from_domain, ())):
                    used.add(port.number)
                    self.end(remote, from_domain, port)
        return used


def _enter(table: _Table, to_domain: bytes, from_domain: bytes, port: Port) -> None:
    table.setdefault(to_domain, {}).setdefault(from_domain, []).append(port)


def _leave(table: _Table, to_domain: bytes, from_domain: bytes, port: Port) -> None:
    by_source = table[to_domain]
    by_source[from_domain].remove(port)
    if not by_source[from_domain]:
        del by_source[from_domain]
    if not by_source:
        del table[to_domain]
