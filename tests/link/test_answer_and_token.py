"""Tokens and answers: facts that never change."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.link.answer import ConnectionView, answer_for
from imxrouter.link.token import (
    TOKEN_BYTES,
    TokenFacts,
    TokenRefused,
    domain_key,
    key_id,
    mint_token,
    open_token,
)
from tests.vectors.load import load

TOKENS, ANSWERS = load("tokens"), load("answers")
KEY = bytes.fromhex(TOKENS["domain_key"])
FACTS = TokenFacts(
    bytes.fromhex(TOKENS["facts"]["server"]),
    TOKENS["facts"]["process"],
    TOKENS["facts"]["link"],
    TOKENS["facts"]["claim"],
    bytes.fromhex(TOKENS["facts"]["nonce"]),
    TOKENS["facts"]["expires_at"],
)
A, B = TOKENS["from_domain"].encode(), TOKENS["to_domain"].encode()
facts = st.builds(
    TokenFacts,
    st.binary(min_size=8, max_size=8),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF_FFFF),
    st.integers(0, 0xFFFF_FFFF),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**40),
)
domains = st.sampled_from([b"a.example", b"b.example", b"m.example", b"a", b"aa", b"x" * 253])


def test_the_token_of_the_vectors_is_minted() -> None:
    """The same key and facts give the same bytes."""
    assert domain_key(bytes.fromhex(TOKENS["operator_secret"]), A) == KEY
    assert key_id(KEY).hex() == TOKENS["key_id"]
    assert mint_token(KEY, A, B, FACTS).hex() == TOKENS["token"]


def test_the_token_is_what_the_specification_says() -> None:
    """Section 6.1, computed from its words."""
    token = bytes.fromhex(TOKENS["token"])
    assert len(token) == TOKEN_BYTES == 78
    assert token[:4] == hashlib.sha256(b"imx-token-key-id" + KEY).digest()[:4]
    assert token[4:46] == (
        FACTS.server + FACTS.process.to_bytes(2, "big") + FACTS.link.to_bytes(4, "big")
        + FACTS.claim.to_bytes(4, "big") + FACTS.nonce + FACTS.expires_at.to_bytes(8, "big")
    )  # fmt: skip
    text = b"imx-token" + bytes([len(A)]) + A + bytes([len(B)]) + B + token[:46]
    assert token[46:] == hmac.digest(KEY, text, "sha256")


@pytest.mark.parametrize("case", TOKENS["presented"], ids=lambda case: str(case["name"]))
def test_a_presented_token_is_judged(case: dict[str, object]) -> None:
    """By a host that knows the key of the claiming domain only."""
    pair = str(case["from_domain"]).encode(), str(case["to_domain"]).encode()
    token, at = bytes.fromhex(str(case["token"])), float(str(case["at"]))
    if case["reason"] == "none":
        assert open_token({key_id(KEY): KEY}, *pair, token, at) == FACTS
        return
    with pytest.raises(TokenRefused) as caught:
        open_token({key_id(KEY): KEY}, *pair, token, at)
    assert caught.value.reason.word == case["reason"]


@given(facts, domains, domains, domains, domains)
def test_a_token_is_good_for_its_pair_only(
    made: TokenFacts, from_domain: bytes, to_domain: bytes, other_from: bytes, other_to: bytes
) -> None:
    """Whatever its facts; names that run into each other included."""
    token = mint_token(KEY, from_domain, to_domain, made)
    keys = {key_id(KEY): KEY}
    assert open_token(keys, from_domain, to_domain, token, float(made.expires_at)) == made
    if (other_from, other_to) != (from_domain, to_domain):
        with pytest.raises(TokenRefused):
            open_token(keys, other_from, other_to, token, float(made.expires_at))


@given(st.binary(max_size=100), st.integers(0, TOKEN_BYTES * 8 - 1))
def test_no_other_bytes_are_a_token(data: bytes, bit: int) -> None:
    """Random bytes and single flipped bits are refused, and nothing else is raised."""
    token = bytearray.fromhex(TOKENS["token"])
    token[bit // 8] ^= 1 << bit % 8
    for forged in (data, bytes(token)):
        with pytest.raises(TokenRefused):
            open_token({key_id(KEY): KEY}, A, B, forged, 0.0)


@pytest.mark.parametrize("case", ANSWERS["answers"], ids=lambda case: str(case["name"]))
def test_an_answer_is_what_the_specification_says(case: dict[str, object]) -> None:
    """Section 6.3, computed from its words."""
    secret, exporter, token = (bytes.fromhex(ANSWERS[name]) for name in ("secret", "exporter", "token"))
    view = ConnectionView(int(str(case["view"])))
    assert answer_for(secret, view, exporter, A, B, token).hex() == case["answer"]
    if view is ConnectionView.TLS_BOUND:
        text = b"imx-dialback" + exporter + bytes([len(A)]) + A + bytes([len(B)]) + B + token
        assert case["answer"] == hmac.digest(secret, text, "sha256").hex()
    else:
        assert case["answer"] == secret.hex()


@pytest.mark.parametrize("case", ANSWERS["login"], ids=lambda case: str(case["name"]))
def test_a_login_is_signed_as_the_specification_says(case: dict[str, str]) -> None:
    """Section 6.6; raises where the signature does not fit."""
    parts = [bytes.fromhex(case[name]) for name in ("challenge", "exporter", "key_id")]
    assert case["text"] == (b"imx-login" + b"".join(parts)).hex()
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(case["public_key"]))
    public.verify(bytes.fromhex(case["signature"]), bytes.fromhex(case["text"]))


def test_clocks_may_differ_by_as_much_as_configured() -> None:
    """A token is taken until its end and the skew, and not a second longer."""
    token = mint_token(KEY, A, B, FACTS)
    keys = {key_id(KEY): KEY}
    assert open_token(keys, A, B, token, FACTS.expires_at + 5, skew_s=5) == FACTS
    with pytest.raises(TokenRefused) as caught:
        open_token(keys, A, B, token, FACTS.expires_at + 6, skew_s=5)
    assert caught.value.reason.word == "bad-token"
