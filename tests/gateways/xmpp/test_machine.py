"""Two stream machines back to back, in every role and mode, whatever the borders of the reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from imxrouter.gateways.xmpp.effects import Attached, Handled, Open
from imxrouter.gateways.xmpp.steps import Step, StreamRole
from imxrouter.gateways.xmpp.terms import StreamTerms, TlsRule
from imxrouter.link.machine import LinkState
from tests.gateways.xmpp.pipe import OURS, THEIRS, Party, a_party, run

MESSAGE = b"<message from='juliet@theirs.example/x' to='romeo@ours.example' id='1'><body>hi</body></message>"
BACK = b"<message from='romeo@ours.example' to='juliet@theirs.example/x' id='2'><body>ho</body></message>"
MODES = ("clear dial-back", "tls dial-back", "external", "external refused", "direct")
SECRETS = {"irc.ours.example": b"s3cr3t"}

CHUNKS: dict[str, Callable[[bytes], Iterable[bytes]]] = {
    "whole": lambda data: [data],
    "bytes": lambda data: [data[at : at + 1] for at in range(len(data))],
    "sevens": lambda data: [data[at : at + 7] for at in range(0, len(data), 7)],
    "at ends of tags": lambda data: [part + b">" for part in data.split(b">") if part.strip()],
}


def yes(_domain: str) -> bool:
    """Say yes for every domain."""
    return True


def terms(tls: TlsRule, *, external: bool, bidi: bool = False, sm: bool = False) -> StreamTerms:
    """Terms of an accepting or opening side."""
    return StreamTerms(
        tls, serves=lambda domain: domain == OURS, external=(yes if external else lambda _: False),
        dialback=yes, bidi=bidi, sm=sm,
    )  # fmt: skip


def a_pair(out: StreamTerms, accepted: StreamTerms, *, direct: bool = False) -> tuple[Party, Party]:
    """Their server opens a stream to ours."""
    opener = a_party(StreamRole.S2S_OUT, THEIRS, OURS, out, tls=direct)
    acceptor = a_party(StreamRole.S2S_IN, "", "", accepted, tls=direct)
    for one in (acceptor, opener):
        one.perform(one.machine.start())
    return opener, acceptor


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("bidi", [False, True])
@pytest.mark.parametrize(
    "mode", ["clear dial-back", "tls dial-back", "external", "external refused", "direct"]
)
def test_a_stream_opens_and_carries_a_stanza(mode: str, chunk: str, *, bidi: bool) -> None:
    """The very bytes arrive, and only after the pair is proved."""
    rule = TlsRule.NONE if mode == "clear dial-back" else TlsRule.REQUIRED
    external = mode in {"external", "external refused", "direct"}
    both = terms(rule, external=external, bidi=bidi, sm=external)
    opener, acceptor = a_pair(both, both, direct=mode == "direct")
    acceptor.grants = mode != "external refused"
    run(opener, acceptor, CHUNKS[chunk])
    assert opener.machine.step is acceptor.machine.step is Step.OPEN
    assert len(opener.of(Open)) == len(acceptor.of(Open)) == 1
    proved_by_certificate = mode in {"external", "direct"}
    assert opener.took_external is proved_by_certificate
    assert acceptor.headers == 1 + (rule is TlsRule.REQUIRED and mode != "direct") + proved_by_certificate
    if not proved_by_certificate:
        assert not opener.machine.may_write(THEIRS, OURS)
        opener.claim()
        run(opener, acceptor, CHUNKS[chunk])
    assert opener.machine.may_write(THEIRS, OURS)
    assert acceptor.machine.may_write(OURS, THEIRS) is (bidi and rule is TlsRule.REQUIRED)
    opener.perform(opener.machine.stanzas([MESSAGE], [7], opener.now))
    run(opener, acceptor, CHUNKS[chunk])
    assert acceptor.stanzas[0] == MESSAGE
    if proved_by_certificate:
        assert opener.of(Handled) == [Handled((7,), True)]
    if acceptor.machine.may_write(OURS, THEIRS):
        acceptor.perform(acceptor.machine.stanzas([BACK], [8], acceptor.now))
        run(opener, acceptor, CHUNKS[chunk])
        assert opener.stanzas[0] == BACK
    assert opener.drop is acceptor.drop is None


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_component_attaches(chunk: str) -> None:
    """Both ends of XEP-0114."""
    both = StreamTerms(serves=lambda name: name in SECRETS, secret=SECRETS.get)
    client = a_party(StreamRole.COMPONENT_OUT, "irc.ours.example", OURS, both)
    host = a_party(StreamRole.COMPONENT_IN, OURS, "", both)
    for one in (client, host):
        one.perform(one.machine.start())
    run(client, host, CHUNKS[chunk])
    assert client.of(Attached) == host.of(Attached) == [Attached("irc.ours.example")]
    out = b"<message from='a@irc.ours.example' to='b@ours.example'/>"
    back = b"<message from='b@ours.example' to='a@irc.ours.example'/>"
    client.perform(client.machine.stanzas([out], [None], client.now))
    host.perform(host.machine.stanzas([back], [None], host.now))
    run(client, host, CHUNKS[chunk])
    assert (host.stanzas, client.stanzas) == ([out], [back])
    assert client.machine.state is host.machine.state is LinkState.OPEN
