"""Records and control records as Hypothesis makes them."""

from __future__ import annotations

from hypothesis import strategies as st

from imxrouter.wire.control import (
    CONTROLS,
    Ack,
    Claim,
    ClaimResult,
    Close,
    Control,
    Credit,
    HandOver,
    Hello,
    Login,
    LoginResult,
    Ping,
    Pong,
    Proof,
    Proved,
    Redirect,
    Verify,
    VerifyResult,
    Withdraw,
)
from imxrouter.wire.fields import Field
from imxrouter.wire.record import Envelope, Record
from imxrouter.wire.registry import is_routed

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF)
u64 = st.integers(0, 2**64 - 1)
fields = st.lists(st.builds(Field, u16, st.binary(max_size=40)), max_size=8).map(tuple)
message_ids = st.binary(min_size=16, max_size=16)
envelopes = st.builds(
    Envelope,
    st.binary(max_size=255),
    st.binary(min_size=1, max_size=255),
    st.binary(max_size=255),
    st.binary(min_size=1, max_size=255),
)
routed_types = u16.filter(is_routed)
own_types = u16.filter(lambda kind: not is_routed(kind))
routed = st.builds(Record, routed_types, u8, u8, u64, message_ids, envelopes, fields, st.binary(max_size=200))
own = st.builds(
    Record, own_types, u8, u8, u64, message_ids, st.just(Envelope()), fields, st.binary(max_size=200)
)
records = routed | own

domains = st.binary(min_size=1, max_size=253)
tokens = st.binary(min_size=1, max_size=96)
u16s = st.lists(u16, max_size=10).map(tuple)
texts = st.text(max_size=60)
ascii_targets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=3, max_size=259)


def sized(low: int, high: int | None = None) -> st.SearchStrategy[bytes]:
    """Bytes of that many bytes."""
    return st.binary(min_size=low, max_size=low if high is None else high)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """That or nothing."""
    return st.none() | strategy


nonces = st.lists(sized(16), max_size=4).map(tuple)
BUILDERS: dict[type[Control], st.SearchStrategy[Control]] = {
    Hello: st.builds(
        Hello, u16s, u16s, u32, u32, u32, sized(16), sized(8), maybe(u32), maybe(u32), maybe(u32),
        maybe(u32), maybe(sized(32)), maybe(texts),
    ),
    Ping: st.builds(Ping, sized(8, 16)),
    Pong: st.builds(Pong, sized(8, 16)),
    Ack: st.builds(Ack, u64),
    Close: st.builds(Close, u16, u32, maybe(u32), maybe(u16), maybe(texts)),
    Redirect: st.builds(Redirect, ascii_targets, st.lists(domains, max_size=4).map(tuple), u16, u32),
    Credit: st.builds(Credit, u32, u32),
    Claim: st.builds(Claim, u32, domains, domains, tokens),
    Proof: st.builds(Proof, u32, sized(32)),
    ClaimResult: st.builds(ClaimResult, u32, u16, maybe(u8), maybe(u32), nonces),
    Verify: st.builds(Verify, u32, domains, domains, tokens, sized(32), u8),
    VerifyResult: st.builds(VerifyResult, u32, u16, maybe(sized(16))),
    Withdraw: st.builds(Withdraw, domains, u16),
    Proved: st.builds(Proved, domains, domains),
    Login: st.builds(Login, sized(1, 64), sized(64)),
    LoginResult: st.builds(LoginResult, u16),
    HandOver: st.builds(HandOver, sized(2, 509), sized(2, 509), sized(1, 40), u32),
}  # fmt: skip
controls: st.SearchStrategy[Control] = st.one_of(list(BUILDERS.values()))
assert set(BUILDERS) == set(CONTROLS.values())


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few bytes changed, cut or put in: closer to real input than random bytes are."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=2))
        elif kind == 1:
            del data[at : at + draw(st.integers(1, 16))]
        elif kind == 2:
            data[at:at] = draw(st.binary(max_size=16))
        else:
            data += draw(st.sampled_from(seeds))
    return bytes(data)
