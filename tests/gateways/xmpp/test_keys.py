"""Keys of dial-back: the vectors of XEP-0185 and XEP-0220, and what a guess is worth."""

from __future__ import annotations

import hmac

import pytest

from imxrouter.gateways.xmpp.keys import good, key_for

VECTORS = (
    # XEP-0185 section 3
    (
        b"s3cr3tf0rd14lb4ck", "xmpp.example.com", "example.org", "D60000229F",
        "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643",
    ),
    # XEP-0220 section 2.1.1
    (
        b"s3cr3tf0rd14lb4ck", "montague.example", "capulet.example", "D60000229F",
        "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3",
    ),
    # XEP-0220 section 2.1.2
    (
        b"d14lb4ck43v3r", "capulet.example", "montague.example", "417GAF25",
        "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("secret", "receiving", "originating", "stream_id", "key"), VECTORS)
def test_the_vectors(secret: bytes, receiving: str, originating: str, stream_id: str, key: str) -> None:
    """The key of each example comes out, and is good for that secret."""
    assert key_for(secret, receiving, originating, stream_id) == key
    assert good([b"another", secret], receiving, originating, stream_id, key)
    assert not good([b"another"], receiving, originating, stream_id, key)


@pytest.mark.parametrize("place", range(3))
def test_a_key_is_good_for_one_claim_only(place: int) -> None:
    """Another receiving domain, another claimed one, another stream: each makes it worthless."""
    said = ("to.example", "from.example", "id")
    key = key_for(b"secret", *said)
    assert good([b"secret"], *said, key=key)
    changed = [f"{one}2" if at == place else one for at, one in enumerate(said)]
    assert not good([b"secret"], changed[0], changed[1], changed[2], key)


@pytest.mark.parametrize("key", ["", "0", "\ud800", "é" * 64, "x" * 100_000])
def test_no_key_is_too_strange(key: str) -> None:
    """Whatever stands there is compared, and wrong."""
    assert not good([b"secret"], "to.example", "from.example", "id", key)


def test_every_comparison_takes_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All secrets are tried, and each by the comparison that does not stop at a difference."""
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    key = key_for(b"first", "to.example", "from.example", "id")
    assert good([b"first", b"second", b"third"], "to.example", "from.example", "id", key)
    assert len(compared) == 3
