"""Which domain a certificate names: RFC 9525, with certificates of an authority and with generated names."""

from __future__ import annotations

import ipaddress

import pytest
import trustme
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.model.domain import Domain
from imxrouter.tls.identity import MAX_NAMES, Identifiers, Service, identifiers_of
from tests.doubles.authority import Authority, dns_srv, xmpp_address

TRUSTME = trustme.CA(key_type=trustme.KeyType.ECDSA)
ROOT = Authority.root()

# certificate's names, domain, whether it is covered
DNS_IDS = [
    (["a.example"], "a.example", True),
    (["A.EXAMPLE"], "a.example", True),
    (["b.example", "a.example"], "a.example", True),
    (["a.example"], "b.example", False),
    (["a.example"], "im.a.example", False),
    (["im.a.example"], "a.example", False),
    (["*.a.example"], "im.a.example", True),
    (["*.a.example"], "a.example", False),
    (["*.a.example"], "x.im.a.example", False),
    (["*.a.example"], "im.b.example", False),
    (["*.a.example"], "xn--mnchen-3ya.a.example", True),  # the whole label stands for an A-label as well
    (["xn--mnchen-3ya.example"], "xn--mnchen-3ya.example", True),
    (["xn--mnchen-3ya.example"], "xn--mnchen-3yb.example", False),
    (["*.xn--mnchen-3ya.example"], "im.xn--mnchen-3ya.example", True),
]


@pytest.mark.parametrize(("names", "domain", "covered"), DNS_IDS)
def test_dns_id(names: list[str], domain: str, *, covered: bool) -> None:
    """The domain stands there in full, or a wildcard stands for its one first label."""
    made = ROOT.issue(*names).certificate
    assert identifiers_of(made).covers(domain) is covered
    assert identifiers_of(made).covers_host(domain) is covered


def test_an_internationalised_name_is_compared_as_a_labels() -> None:
    """Trustme encodes the name as authorities do; ours comes in from a configuration as people write it."""
    pem = TRUSTME.issue_cert("m\u00fcnchen.example", "*.stra\u00dfe.example").cert_chain_pems[0].bytes()
    names = identifiers_of(x509.load_pem_x509_certificate(pem))
    assert names.covers(Domain.parse("M\u00fcnchen.Example").name)
    assert names.covers(Domain.parse("im.stra\u00dfe.example").name)
    assert not names.covers(Domain.parse("munchen.example").name)
    assert not names.covers(Domain.parse("strasse.example").name)


WILDCARD_MISUSE = [
    "*", "*.", "*.example", "**.a.example", "*.*.example", "im.*.example", "i*.a.example", "*m.a.example",
    "i*m.a.example", "xn--*.a.example", "a.*", "*a.example", "*..example", "im.a.example.*",
]  # fmt: skip


@pytest.mark.parametrize("pattern", WILDCARD_MISUSE)
@pytest.mark.parametrize(
    "domain", ["im.a.example", "a.example", "a.b.example", "im.a.example.com", "example"]
)
def test_wildcard_misuse_matches_nothing(pattern: str, domain: str) -> None:
    """A wildcard that is not the whole first label, or has too little behind it, counts as absent."""
    names = identifiers_of(ROOT.issue(pattern, "good.example").certificate)
    assert not names.covers(domain)
    assert not names.covers_host(domain)
    assert names == Identifiers(("good.example",))  # and spoils no name beside it


MALFORMED: list[x509.GeneralName] = [
    x509.DNSName(""),
    x509.DNSName(" a.example"),
    x509.DNSName("a.example "),
    x509.DNSName("a.example\x00.evil.example"),
    x509.DNSName("192.0.2.1"),
    x509.UniformResourceIdentifier("imx://a.example:6490/"),  # two colons, which service-identity chokes on
    x509.UniformResourceIdentifier("nothing"),
    x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x16\x00"),
    x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x0c\x0e_imx.a.example"),
    dns_srv("_imx"),
    dns_srv("imx.a.example"),
    dns_srv("_imx.*.example"),
    dns_srv("_imx.*.a.example"),
    dns_srv(" _imx.a.example"),
]


@pytest.mark.parametrize("bad", MALFORMED, ids=repr)
def test_a_malformed_name_matches_nothing_and_spoils_nothing(bad: x509.GeneralName) -> None:
    """RFC 9525 section 6.3: it is ignored, and the rest is read."""
    names = identifiers_of(ROOT.issue(san=[bad, x509.DNSName("good.example")]).certificate)
    assert names == Identifiers(("good.example",))
    assert not names.covers("a.example")


SRV_IDS = [
    ("_imx.a.example", "a.example", True),
    ("_IMX.A.example", "a.example", True),
    ("_imx.a.example", "im.a.example", False),
    ("_imx.im.a.example", "a.example", False),
    ("_xmpp-server.a.example", "a.example", False),
    ("_imx.xn--mnchen-3ya.example", "xn--mnchen-3ya.example", True),
]


@pytest.mark.parametrize(("name", "domain", "covered"), SRV_IDS)
def test_srv_id(name: str, domain: str, *, covered: bool) -> None:
    """The service is ours and the domain the one asked for; a host is never named by one."""
    names = identifiers_of(ROOT.issue(san=[dns_srv(name)]).certificate)
    assert names.covers(domain) is covered
    assert not names.covers_host(domain)


XMPP_NAMES: list[tuple[x509.GeneralName, str, bool]] = [
    (x509.DNSName("a.example"), "a.example", True),
    (x509.DNSName("*.a.example"), "im.a.example", True),
    (dns_srv("_xmpp-server.a.example"), "a.example", True),
    (dns_srv("_XMPP-Server.A.example"), "a.example", True),
    (dns_srv("_xmpp-server.a.example"), "im.a.example", False),
    (dns_srv("_xmpp-server.im.a.example"), "a.example", False),
    (dns_srv("_xmpp-server.*.a.example"), "im.a.example", True),
    (dns_srv("_xmpp-server.*.a.example"), "a.example", False),
    (dns_srv("_xmpp-server.*.a.example"), "x.im.a.example", False),
    (dns_srv("_xmpp-server.*.example"), "a.example", False),
    (dns_srv("_xmpp-server"), "xmpp-server", False),
    (dns_srv("_xmpp-client.a.example"), "a.example", False),
    (dns_srv("_imx.a.example"), "a.example", False),
    (xmpp_address("a.example"), "a.example", True),
    (xmpp_address("A.Example"), "a.example", True),
    (xmpp_address("a.example"), "im.a.example", False),
    (xmpp_address("m\u00fcnchen.example"), "xn--mnchen-3ya.example", True),
    (xmpp_address("xn--mnchen-3ya.example"), "xn--mnchen-3ya.example", True),
    (xmpp_address("*.a.example"), "im.a.example", False),
    (xmpp_address("alice@a.example"), "a.example", False),
    (xmpp_address("a.example/home"), "a.example", False),
    (xmpp_address(" a.example"), "a.example", False),
    (xmpp_address("192.0.2.1"), "192.0.2.1", False),
    (xmpp_address("a.example", tag=0x16), "a.example", False),
    (xmpp_address(("a" * 60 + ".") * 3 + "example"), ("a" * 60 + ".") * 3 + "example", True),
]


@pytest.mark.parametrize(("name", "domain", "covered"), XMPP_NAMES, ids=repr)
def test_a_name_for_xmpp(name: x509.GeneralName, domain: str, *, covered: bool) -> None:
    """A DNS-ID, an SRV-ID of XMPP servers, or the server's address; and nothing is spoilt beside it."""
    names = identifiers_of(ROOT.issue(san=[name, x509.DNSName("good.example")]).certificate)
    assert names.covers(domain, Service.XMPP) is covered
    assert names.covers("good.example", Service.XMPP)


@pytest.mark.parametrize(
    "name", [dns_srv("_xmpp-server.a.example"), xmpp_address("a.example")], ids=["srv", "xmpp"]
)
def test_a_name_for_xmpp_counts_for_nothing_else(name: x509.OtherName) -> None:
    """Who may run a domain's XMPP server may not therefore be its router, nor a host of that name."""
    names = identifiers_of(ROOT.issue(san=[name]).certificate)
    assert names.covers("a.example", Service.XMPP)
    assert not names.covers("a.example", Service.IMX)
    assert not names.covers_host("a.example")
    assert names.exact == names.wildcards == ()
    assert names.of_services == ("a.example",)
    assert names.shown[0].removeprefix("xmpp:").removeprefix("_xmpp-server.") == "a.example"


def test_an_address_never_matches() -> None:
    """Neither an address among the names, nor one asked for."""
    address = ipaddress.ip_address("192.0.2.1")
    made = ROOT.issue(san=[x509.IPAddress(address), x509.DNSName("*.0.2.1"), x509.DNSName("a.example")])
    names = identifiers_of(made.certificate)
    for service in Service:
        assert not names.covers("192.0.2.1", service)
        assert not names.covers("10.0.2.1", service)


def test_the_common_name_never_matches() -> None:
    """With subjectAltName or without."""
    for service in Service:
        for made in (ROOT.issue(common="a.example", san=[]), ROOT.issue("b.example", common="a.example")):
            assert not identifiers_of(made.certificate).covers("a.example", service)


def test_absurdly_many_names_are_none() -> None:
    """A look-up walks all of them, so their number is bounded."""
    many = [x509.DNSName(f"d{number}.example") for number in range(MAX_NAMES + 1)]
    assert identifiers_of(ROOT.issue(san=many).certificate) == Identifiers()
    assert identifiers_of(ROOT.issue(san=many[:-1]).certificate).covers("d7.example")


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True).filter(lambda x: not x.isdigit())
NAME = st.lists(LABEL, min_size=2, max_size=4).map(".".join)


def _naive(pattern: str, name: str) -> bool:
    """RFC 9525 section 6.3 in a line, for patterns that are valid."""
    mine, theirs = pattern.split("."), name.split(".")
    return len(mine) == len(theirs) and all(m in {t, "*"} for m, t in zip(mine, theirs, strict=True))


@given(pattern=NAME, wild=st.booleans(), name=NAME)
def test_matching_is_that_of_the_rfc(pattern: str, name: str, *, wild: bool) -> None:
    """Any name against any valid pattern, and against the pattern made of the name itself."""
    for base in (pattern, name):
        head, _, rest = base.partition(".")
        own = f"*.{rest}" if wild and "." in rest else f"{head}.{rest}"
        assert Identifiers((own,)).covers(name) is _naive(own, name)


@given(text=st.text(st.sampled_from("ab*.-_x \0"), max_size=12), name=NAME)
def test_no_pattern_with_a_stray_wildcard_matches(text: str, name: str) -> None:
    """Whatever stands in a certificate: a wildcard counts only as the whole first label."""
    if not text.isascii() or not text:
        return
    names = x509.SubjectAlternativeName([x509.DNSName(text)])
    found = _identifiers(names)
    if "*" in text and not (text.startswith("*.") and text.count("*") == 1):
        assert found == Identifiers()
    assert found.covers(name) is any(_naive(own, name) for own in found.dns)


def _identifiers(names: x509.SubjectAlternativeName) -> Identifiers:
    class _Extensions:
        def get_extension_for_oid(self, _oid: object) -> object:
            return type("Extension", (), {"value": names})

    class _Certificate:
        extensions = _Extensions()

    return identifiers_of(_Certificate())  # type: ignore[arg-type]
