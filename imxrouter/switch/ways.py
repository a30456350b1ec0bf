"""The ways to remote domains: which links may carry what from a domain of ours.

An entry exists because a claim of ours was proved on the link (architecture section 3, rule 3). Each link's
own entries are indexed, so that a link or a domain that goes costs what it used, not what the router knows.
"""

from __future__ import annotations

from imxrouter.switch.ports import Port


class Ways(dict[bytes, dict[bytes, list[Port]]]):
    """Remote domain -> source domain of ours -> links over which it may be sent.

    The hot path reads it as the dictionary it is; changes go through the methods.
    """

    def __init__(self) -> None:
        super().__init__()
        self._of_port: dict[int, set[tuple[bytes, bytes]]] = {}

    def open(self, to_domain: bytes, from_domain: bytes, port: Port) -> None:
        """The link may carry requests from a domain of ours to a remote one."""
        pairs = self._of_port.setdefault(port.number, set())
        if (to_domain, from_domain) not in pairs:
            pairs.add((to_domain, from_domain))
            self.setdefault(to_domain, {}).setdefault(from_domain, []).append(port)

    def end(self, to_domain: bytes, from_domain: bytes, port: Port) -> None:
        """The link carries that pair no longer; nothing happens where it did not."""
        pairs = self._of_port.get(port.number, set())
        if (to_domain, from_domain) not in pairs:
            return
        pairs.discard((to_domain, from_domain))
        if not pairs:
            del self._of_port[port.number]
        by_source = self[to_domain]
        by_source[from_domain].remove(port)
        if not by_source[from_domain]:
            del by_source[from_domain]
        if not by_source:
            del self[to_domain]

    def of_port(self, port: Port) -> set[tuple[bytes, bytes]]:
        """Remote domain and domain of ours of everything that the link carries."""
        return set(self._of_port.get(port.number, ()))

    def end_to(self, to_domain: bytes, port: Port) -> None:
        """The link leads to that remote domain no longer."""
        for from_domain in list(self.get(to_domain, ())):
            self.end(to_domain, from_domain, port)

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
        for remote, by_source in list(self.items()):
            for port in list(by_source.get(from_domain, ())):
                used.add(port.number)
                self.end(remote, from_domain, port)
        return used
