"""What may be dialled on a stranger's word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.discovery.guard import DialGuard
from imxrouter.model.vocabulary import Reason

REFUSED = {
    "0.0.0.0": "unspecified", "0.1.2.3": "unspecified", "10.1.2.3": "private", "100.64.0.1": "shared",
    "127.0.0.1": "loopback", "127.255.255.254": "loopback", "169.254.169.254": "link-local",
    "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private",
    "198.18.0.1": "benchmarking",
    "192.0.2.1": "documentation", "224.0.0.251": "multicast", "239.1.1.1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified", "::1": "loopback", "::ffff:127.0.0.1": "ipv4-mapped",
    "::ffff:8.8.8.8": "ipv4-mapped",
    "::127.0.0.1": "ipv4-compatible", "::ffff:0:127.0.0.1": "ipv4-translated",
    "64:ff9b::7f00:1": "nat64", "64:ff9b::808:808": "nat64", "64:ff9b:1::1": "nat64",
    "2002:7f00:1::1": "6to4-loopback", "2002:a00:1::1": "6to4-private", "2002:c0a8:101::": "6to4-private",
    "2001:0:7f00:1::": "teredo-loopback", "2001:0:808:808:0:0:80ff:fffe": "teredo-loopback",
    "fe80::1": "link-local", "fe80::1%eth0": "scoped", "fec0::1": "site-local", "fc00::1": "private",
    "fd12:3456::1": "private", "ff02::1": "multicast", "2001:db8::1": "documentation", "100::1": "discard",
    "4000::1": "reserved", "::2:0:0": "reserved", "localhost": "not-an-address", "": "not-an-address",
    "0177.0.0.1": "not-an-address", "2130706433": "not-an-address",
}  # fmt: skip


@pytest.mark.parametrize(("address", "rule"), REFUSED.items())
def test_addresses_that_are_not_dialled(address: str, rule: str) -> None:
    """Each is refused by its rule."""
    refusal = DialGuard().check(address, 6490)
    assert refusal is not None
    assert (refusal.rule, refusal.reason) == (rule, Reason.ADDRESS_REFUSED)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "193.0.14.129", "172.32.0.1", "2606:4700::1", "2002:808:808::1", "2a00::1"]
)
def test_public_addresses_are_dialled(address: str) -> None:
    """What the Internet routes passes."""
    assert DialGuard().check(address, 6490) is None


def test_low_ports_need_leave() -> None:
    """443 has it by default."""
    assert DialGuard().check("8.8.8.8", 443) is None
    for port, rule in [(25, "low-port"), (1023, "low-port"), (0, "bad-port"), (65536, "bad-port")]:
        refusal = DialGuard().check("8.8.8.8", port)
        assert refusal is not None
        assert refusal.rule == rule
    assert DialGuard(low_ports={25}).check("8.8.8.8", 25) is None


def test_allowed_networks() -> None:
    """A laboratory may dial its own loopback; the same in disguise stays refused."""
    guard = DialGuard(allow=["127.0.0.0/8"])
    assert guard.check("127.0.0.2", 6490) is None
    assert guard.check("::ffff:127.0.0.2", 6490) is not None
    assert guard.check("10.0.0.1", 6490) is not None


def test_allowed_nat64_is_judged_by_what_it_embeds() -> None:
    """An IPv6-only host may allow NAT64 without opening its provider's inner networks."""
    guard = DialGuard(allow=["64:ff9b::/96"])
    assert guard.check("64:ff9b::808:808", 6490) is None
    refusal = guard.check("64:ff9b::a00:1", 6490)
    assert refusal is not None
    assert refusal.rule == "nat64-private"


def test_own_listeners_are_never_dialled() -> None:
    """Not even where their network is allowed; another port of the same address is another matter."""
    guard = DialGuard(
        allow=["127.0.0.0/8"], own=[("127.0.0.1", 6490), ("0.0.0.0", 7000)], own_addresses=["8.8.8.8"]
    )
    for address, port in [("127.0.0.1", 6490), ("8.8.8.8", 7000), ("2002:808:808::1", 7000)]:
        refusal = guard.check(address, port)
        assert refusal is not None
        assert refusal.rule == "own-listener"
    assert guard.check("127.0.0.1", 6491) is None
    assert guard.check("8.8.8.8", 6490) is None


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_no_disguise_opens_a_refused_ipv4_address(inner: object) -> None:
    """Mapped, NAT64, 6to4 and Teredo forms of it are refused too."""
    number = int(inner)  # type: ignore[call-overload]
    high, low = number >> 16, number & 0xFFFF
    for form in (
        f"::ffff:{high:x}:{low:x}",
        f"::{high:x}:{low:x}",
        f"64:ff9b::{high:x}:{low:x}",
        f"2002:{high:x}:{low:x}::1",
        f"2001:0:{high:x}:{low:x}::",
        f"2001:0:808:808:0:0:{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
    ):
        assert DialGuard().check(form, 6490) is not None


@given(st.text(max_size=60), st.integers(-5, 70000))
def test_any_text_is_judged(address: str, port: int) -> None:
    """Nothing makes it raise."""
    DialGuard().check(address, port)
