"""The ways to remote domains: which links may carry what from a domain of ours.

An entry exists because a claim of ours was proved on the link (architecture section 3, rule 3). Each link's
own entries are indexed, so that a link or a domain that goes costs what it used, not what the router knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from imxrouter.routing.choice import Uri
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
    that protocol is the one chosen for the domain (`admit`), never because a stream happens to be open, and
    nothing where policy does not let it be spoken to the domain: then its streams are put by.
    Presence has a table of its own, for it is published and chosen apart (RFC 3861).

    Attributes:
        streams: the same of links that carry stanzas.
        presence: the same for subscriptions and notifications.
        may_stream: whether a remote domain may be spoken to by streams; `judge` asks it anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams: _Table = {}
        self.presence: _Table = {}
        self.may_stream: Callable[[bytes], bool] = lambda _domain: True
        #: as `streams`, of domains that may not be spoken to by them
        self._put_by: _Table = {}
        self._tables: dict[Uri, _Table] = {Uri.IM: self, Uri.PRES: self.presence}
        self._admitted: dict[Uri, set[bytes]] = {uri: set() for uri in Uri}
        self._of_port: dict[int, set[tuple[bytes, bytes]]] = {}
        #: links that a domain publishes for messages alone, or for presence alone
        self._only: dict[int, dict[bytes, Uri]] = {}

    def open(self, to_domain: bytes, from_domain: bytes, port: Port) -> None:
        """The link may carry requests from a domain of ours to a remote one."""
        pairs = self._of_port.setdefault(port.number, set())
        if (to_domain, from_domain) in pairs:
            return
        pairs.add((to_domain, from_domain))
        if port.carries_stanzas and not self.may_stream(to_domain):
            _enter(self._put_by, to_domain, from_domain, port)
            return
        if port.carries_stanzas:
            _enter(self.streams, to_domain, from_domain, port)
        self._enter_for(to_domain, from_domain, port)

    def judge(self) -> None:
        """Policy may be another one: put by the streams that it does not allow, and bring back the others."""
        for domain in [one for one in self.streams if not self.may_stream(one)]:
            self.dismiss(domain)
            self._put_by[domain] = self.streams.pop(domain)
        for domain in [one for one in self._put_by if self.may_stream(one)]:
            self.streams[domain] = self._put_by.pop(domain)
            for uri in [uri for uri, admitted in self._admitted.items() if domain in admitted]:
                self._admitted[uri].discard(domain)
                self.admit(domain, uri)

    def _enter_for(self, to_domain: bytes, from_domain: bytes, port: Port) -> None:
        """Enter a link where it belongs: for messages, for presence, or for both."""
        for uri, table in self._tables.items():
            if not port.carries_stanzas:
                if not self.fits(to_domain, port, uri):
                    continue
                self.dismiss(to_domain, uri)  # the peer speaks our own protocol: nothing else takes turns
            elif to_domain not in self._admitted[uri]:
                continue
            _enter(table, to_domain, from_domain, port)

    def only(self, to_domain: bytes, port: Port) -> Uri | None:
        """For what alone a domain publishes a link; None: for messages and presence."""
        return self._only.get(port.number, {}).get(to_domain)

    def fits(self, to_domain: bytes, port: Port, uri: Uri) -> bool:
        """Whether a link is for messages, or for presence, as the domain publishes it."""
        return self.only(to_domain, port) in (None, uri)

    def restrict(self, to_domain: bytes, port: Port, only: Uri | None) -> None:
        """A link was reached by what a domain publishes for that alone; None, or for the other: for both."""
        known = self._only.get(port.number, {})
        is_new = not any(remote == to_domain for remote, _ in self._of_port.get(port.number, ()))
        if only is not None and is_new and known.get(to_domain, only) is only:
            self._only.setdefault(port.number, {})[to_domain] = only
        elif known.get(to_domain, only) is not only:
            del known[to_domain]
            for remote, ours in self._of_port.get(port.number, ()):
                if remote == to_domain:
                    self._enter_for(remote, ours, port)

    def admit(self, to_domain: bytes, uri: Uri | None = None) -> None:
        """What is chosen for the domain is the protocol of its streams: they carry everything to it.

        It holds until `dismiss`, or until a link of the router's own protocol leads there.

        Args:
            to_domain: the domain.
            uri: messages or presence; None: both.
        """
        for one in (uri,) if uri is not None else Uri:
            if to_domain not in self._admitted[one]:
                self._admitted[one].add(to_domain)
                for from_domain, ports in self.streams.get(to_domain, {}).items():
                    for port in ports:
                        _enter(self._tables[one], to_domain, from_domain, port)

    def dismiss(self, to_domain: bytes, uri: Uri | None = None) -> None:
        """That choice holds no longer: its streams carry stanzas only."""
        for one in (uri,) if uri is not None else Uri:
            if to_domain in self._admitted[one]:
                self._admitted[one].discard(to_domain)
                for from_domain, ports in self.streams.get(to_domain, {}).items():
                    for port in ports:
                        _leave(self._tables[one], to_domain, from_domain, port)

    def leads_to(self, to_domain: bytes) -> bool:
        """Whether any link leads to a remote domain."""
        return to_domain in self or to_domain in self.streams or to_domain in self.presence

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
            _leave(self._put_by, to_domain, from_domain, port)
        for table in self._tables.values():
            _leave(table, to_domain, from_domain, port)

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
        self._only.pop(port.number, None)
        for remote, ours in list(self._of_port.get(port.number, ())):
            self.end(remote, ours, port)

    def end_source(self, from_domain: bytes) -> set[int]:
        """A domain of ours goes: no link carries it to anybody; returns the numbers of those that did."""
        used: set[int] = set()
        for table in (self, self.streams, self._put_by, self.presence):
            for remote, by_source in list(table.items()):
                for port in list(by_source.get(from_domain, ())):
                    used.add(port.number)
                    self.end(remote, from_domain, port)
        return used


def _enter(table: _Table, to_domain: bytes, from_domain: bytes, port: Port) -> None:
    ports = table.setdefault(to_domain, {}).setdefault(from_domain, [])
    if port not in ports:
        ports.append(port)


def _leave(table: _Table, to_domain: bytes, from_domain: bytes, port: Port) -> None:
    """Take a link out, if it is there; no empty table is left."""
    by_source = table.get(to_domain, {})
    ports = by_source.get(from_domain, [])
    if port not in ports:
        return
    ports.remove(port)
    if not ports:
        del by_source[from_domain]
    if not by_source:
        del table[to_domain]
