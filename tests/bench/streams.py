"""Opens the bench's XMPP streams by hand: a peer that is dialled back, and a component.

Blocking sockets and no parser: what a server says before the first stanza is looked through for the few words
that matter. Sources: RFC 6120 section 4, XEP-0220, XEP-0114.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
from typing import Final

TIMEOUT_S: Final = 20.0
#: A server asks on the stream of its claim, too, but soon.
QUIET_S: Final = 0.5
_STREAMS: Final = "http://etherx.jabber.org/streams"
_ID: Final = re.compile(rb"""<stream:stream[^>]*?\sid=['"]([^'"]+)['"]""")
_VERIFY: Final = re.compile(rb"""<db:verify\b[^>]*>""")
_RESULT: Final = re.compile(rb"""<db:result\b[^>]*>""")


def attribute(tag: bytes, name: str) -> str:
    """The value of an attribute of a start tag; empty where it has none."""
    found = re.search(rf"""\s{name}=['"]([^'"]*)['"]""".encode(), tag)
    return found.group(1).decode() if found else ""


def header(namespace: str, more: str) -> bytes:
    """A stream's start tag."""
    dialback = " xmlns:db='jabber:server:dialback' version='1.0'" if namespace == "jabber:server" else ""
    text = (
        f"<?xml version='1.0'?><stream:stream xmlns='{namespace}' xmlns:stream='{_STREAMS}'{dialback} {more}>"
    )
    return text.encode()


def read_until(connection: socket.socket, wanted: re.Pattern[bytes] | bytes, data: bytes = b"") -> bytes:
    """Read until something has come.

    Raises:
        ConnectionError: the stream ended before.
    """
    pattern = re.compile(re.escape(wanted)) if isinstance(wanted, bytes) else wanted
    while not pattern.search(data):
        more = connection.recv(65536)
        if not more or b"<stream:error" in data + more:
            raise ConnectionError(f"the stream ended: {data + more!r}")
        data += more
    return data


def _connect(endpoint: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(endpoint, TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def component(endpoint: tuple[str, int], name: str, secret: str) -> socket.socket:
    """A component's stream, logged in (XEP-0114 section 3)."""
    connection = _connect(endpoint)
    connection.sendall(header("jabber:component:accept", f"to='{name}'"))
    found = _ID.search(read_until(connection, _ID))
    assert found is not None
    digest = hashlib.sha1(found.group(1) + secret.encode()).hexdigest()  # noqa: S324  (XEP-0114 has no other)
    connection.sendall(f"<handshake>{digest}</handshake>".encode())
    read_until(connection, re.compile(rb"<handshake\s*/>|<handshake></handshake>"))
    return connection


def peer(endpoint: tuple[str, int], from_domain: str, to_domain: str) -> socket.socket:
    """A stream on which a domain is proved by dial-back, in clear; `Authority` answers for it."""
    connection = _connect(endpoint)
    connection.sendall(header("jabber:server", f"from='{from_domain}' to='{to_domain}'"))
    read_until(connection, b"</stream:features>")
    connection.sendall(f"<db:result from='{from_domain}' to='{to_domain}'>key</db:result>".encode())
    said = read_until(connection, re.compile(rb"<db:result\b[^>]*type=['\"]\w+['\"]"))
    if b"invalid" in said or b"error" in said:
        raise ConnectionError(f"the claim was refused: {said!r}")
    return connection


class Authority:
    """A listener for a peer's domain: says `valid` to every question, and to every claim.

    Claims come from servers that want to send to the domain. It is for a bench: nothing is verified.

    Attributes:
        streams: accepted streams on which a claim was answered, in order.
    """

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._open: list[socket.socket] = []
        self.streams: list[socket.socket] = []
        self.claimed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.append(accepted)
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        """Answer what comes before stanzas; `QUIET_S` after a claim the stream is its user's."""
        claimed = False
        with contextlib.suppress(OSError, ConnectionError):
            first = re.compile(rb"<stream:stream\b[^>]*>")
            found = first.search(read_until(accepted, first))
            assert found is not None
            ours, theirs = attribute(found.group(), "to"), attribute(found.group(), "from")
            said = header("jabber:server", f"id='bench' from='{ours}' to='{theirs}'")
            features = b"<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>"
            accepted.sendall(said + features)
            data = b""
            while True:
                data = read_until(accepted, re.compile(rb"<db:(verify|result)\b[^>]*>"), data)
                asked, claim = _VERIFY.search(data), _RESULT.search(data)
                if asked:
                    accepted.sendall(_answer("verify", asked.group()))
                    data = data[asked.end() :]
                elif claim:
                    accepted.sendall(_answer("result", claim.group()))
                    data = data[claim.end() :]
                    claimed = True
                    accepted.settimeout(QUIET_S)
        if claimed and accepted.fileno() >= 0:
            accepted.settimeout(TIMEOUT_S)
            self.streams.append(accepted)
            self.claimed.set()

    def close(self) -> None:
        """Stop answering."""
        self._listening.close()
        for one in self._open:
            one.close()


def _answer(name: str, tag: bytes) -> bytes:
    ours, theirs, ident = (attribute(tag, word) for word in ("to", "from", "id"))
    named = f" id='{ident}'" if name == "verify" else ""
    return f"<db:{name} from='{ours}' to='{theirs}'{named} type='valid'/>".encode()
