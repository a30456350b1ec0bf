"""The certificate folder: what is taken, and what is wrong with the rest, by file, fault and remedy."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from imxrouter.model.domain import Domain
from imxrouter.tls.folder import BadCertificates, load_folder, signature_of
from imxrouter.tls.peer import Anchors
from imxrouter.tls.store import Certificates, CertificateSet
from tests.doubles.authority import DAY, NOW, Authority, Issued, dns_srv, rsa_key

ROOT = Authority.root()
MIDDLE = ROOT.below()


def put(path: Path, *parts: bytes) -> Path:
    """Write a private file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(parts))
    path.chmod(0o600)
    return path


def _lego(folder: Path, issued: Issued) -> None:
    issued.write(folder, "a.example")
    put(folder / "a.example.issuer.crt", MIDDLE.issued.chain_pem)
    put(folder / "a.example.json", b"{}")


def _certbot(folder: Path, issued: Issued) -> None:
    archive = folder.parent / "archive"
    live = folder / "a.example"
    live.mkdir()
    for name, text in (
        ("cert", Issued(issued.certificate, issued.key).chain_pem),
        ("chain", MIDDLE.issued.chain_pem),
        ("fullchain", issued.chain_pem),
        ("privkey", issued.key_pem),
    ):
        put(archive / f"{name}1.pem", text)
        (live / f"{name}.pem").symlink_to(archive / f"{name}1.pem")
    put(folder / "README", b"keep out")


def _acme_sh(folder: Path, issued: Issued) -> None:
    put(folder / "a.example_ecc" / "fullchain.cer", issued.chain_pem)
    put(folder / "a.example_ecc" / "a.example.cer", Issued(issued.certificate, issued.key).chain_pem)
    put(folder / "a.example_ecc" / "ca.cer", MIDDLE.issued.chain_pem)
    put(folder / "a.example_ecc" / "a.example.key", issued.key_pem)
    put(folder / "a.example_ecc" / "a.example.csr", b"")


def _caddy(folder: Path, issued: Issued) -> None:
    issued.write(folder / "acme-v02.api" / "a.example", "a.example")


def _combined(folder: Path, issued: Issued) -> None:
    put(folder / "a.example.pem", issued.key_pem, issued.chain_pem)


def _pem_and_key(folder: Path, issued: Issued) -> None:
    put(folder / "a.example.pem", issued.chain_pem)
    put(folder / "a.example.key", issued.key_pem)


def _hidden_beside(folder: Path, issued: Issued) -> None:
    issued.write(folder, "a.example")
    put(folder / ".a.example.crt.swp", b"half")
    put(folder / ".git" / "x.crt", b"half")


LAYOUTS = [_lego, _certbot, _acme_sh, _caddy, _combined, _pem_and_key, _hidden_beside]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one.__name__.strip("_"))
def test_what_acme_clients_leave_is_taken(layout: Callable[[Path, Issued], None], tmp_path: Path) -> None:
    """Once each, with its intermediate, and without a warning."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    issued = MIDDLE.issue("a.example", "*.a.example")
    layout(folder, issued)
    found = load_folder(folder, NOW, anchors=Anchors([ROOT.certificate], partial=False))
    assert found.warnings == ()
    (one,) = found.all
    assert one.chain == issued.chain
    assert one.names == ("a.example", "*.a.example")
    assert one.not_after == NOW + 90 * DAY
    assert one.issuer == "Test Intermediate"
    assert one.covers(Domain("im.a.example"))


def _locked(issued: Issued) -> bytes:
    return bytes(
        issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )


GOOD = MIDDLE.issue("a.example")
OTHER = MIDDLE.issue("b.example")
BARE = Issued(GOOD.certificate, GOOD.key).chain_pem


# what lies there, the file that is named, and words of the fault and of the remedy
def _damaged(issued: Issued) -> bytes:
    """An RSA key with wrong exponents, whose public half is right."""
    numbers = issued.key.private_numbers()
    wrong = rsa.RSAPrivateNumbers(
        numbers.p,
        numbers.q,
        numbers.d + 2,
        numbers.dmp1 + 2,
        numbers.dmq1,
        numbers.iqmp,
        numbers.public_numbers,
    )
    made = wrong.private_key(unsafe_skip_rsa_key_validation=True)
    return bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


RSA = MIDDLE.issue("a.example", key=rsa_key(2048))

FAULTS: dict[str, tuple[dict[str, bytes], str, str, str]] = {
    "no key": ({"a.crt": GOOD.chain_pem}, "a.key", "no such file", "put it there"),
    "no key in it": ({"a.crt": GOOD.chain_pem, "a.key": b"x"}, "a.key", "no private key", "PEM"),
    "combined without key": ({"a.pem": GOOD.chain_pem}, "a.pem", "no private key", "a.key"),
    "another key": (
        {"a.crt": GOOD.chain_pem, "a.key": OTHER.key_pem},
        "a.key",
        "does not belong to a.crt",
        "issued for",
    ),
    "locked key": (
        {"a.crt": GOOD.chain_pem, "a.key": _locked(GOOD)},
        "a.key",
        "password",
        "openssl pkey",
    ),
    "broken key": (
        {"a.crt": GOOD.chain_pem, "a.key": GOOD.key_pem.replace(b"M", b"Q", 1)},
        "a.key",
        "cannot be read",
        "again",
    ),
    "damaged key": (
        {"a.crt": RSA.chain_pem, "a.key": _damaged(RSA)},
        "a.key",
        "damaged",
        "right one",
    ),
    "no certificate": ({"a.crt": b"", "a.key": GOOD.key_pem}, "a.crt", "no certificate in it", "PEM"),
    "half a certificate": (
        {"a.crt": GOOD.chain_pem[:300], "a.key": GOOD.key_pem},
        "a.crt",
        "has no end",
        "write it whole",
    ),
    "half an intermediate": (
        {"a.crt": GOOD.chain_pem[:-100], "a.key": GOOD.key_pem},
        "a.crt",
        "has no end",
        "write it whole",
    ),
    "broken certificate": (
        {"a.crt": BARE.replace(b"MI", b"QQ", 1), "a.key": GOOD.key_pem},
        "a.crt",
        "cannot be read",
        "export it again",
    ),
    "wrong order": (
        {"a.crt": MIDDLE.issued.chain_pem + BARE, "a.key": GOOD.key_pem},
        "a.crt",
        "does not begin with",
        "first",
    ),
    "another's intermediate": (
        {"a.crt": BARE + ROOT.below("Other").issued.chain_pem, "a.key": GOOD.key_pem},
        "a.crt",
        "not its issuer",
        "issuer",
    ),
    "same name, other key": (
        {"a.crt": BARE + ROOT.below().issued.chain_pem, "a.key": GOOD.key_pem},
        "a.crt",
        "signature",
        "issuer",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_file_what_and_what_to_do(name: str, tmp_path: Path) -> None:
    """And the good one beside it is not lost."""
    files, file, what, do = FAULTS[name]
    for path, text in files.items():
        put(tmp_path / path, text)
    OTHER.write(tmp_path, "z.example")
    with pytest.raises(BadCertificates) as caught:
        load_folder(tmp_path, NOW)
    (problem,) = caught.value.problems
    assert problem.file == tmp_path / file
    assert what in problem.what
    assert do in problem.do
    assert str(problem) == f"{problem.file}: {problem.what}: {problem.do}"
    assert [one.names for one in caught.value.good.all] == [("b.example",)]


BAD: dict[str, tuple[Callable[[], Issued], str, str]] = {
    "ended": (lambda: MIDDLE.issue("a.example", not_after=NOW - 60), "it ended 2026-05-31 23:59", "renew"),
    "chain ended": (lambda: ROOT.below(not_after=NOW - 60).issue("a.example"), "it ended", "renew"),
    "not yet": (lambda: MIDDLE.issue("a.example", not_before=NOW + 60), "valid only from", "clock"),
    "no names": (lambda: MIDDLE.issue(san=[], common="a.example"), "names no domain", "subjectAltName"),
    "names that match nothing": (lambda: MIDDLE.issue("*.example", "192.0.2.1"), "names no domain", "subj"),
    "weak key": (lambda: MIDDLE.issue("a.example", key=rsa_key(1024)), "RSA with 1024 bits", "again"),
    "weak digest": (lambda: MIDDLE.issue("a.example").signed_weakly(MIDDLE), "sha1", "issued again"),
    "odd key": (
        lambda: MIDDLE.issue("a.example", key=dsa.generate_private_key(1024)),  # noqa: S505
        "neither RSA nor an elliptic curve",
        "such a key",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_certificate_that_no_peer_would_take_is_refused(name: str, tmp_path: Path) -> None:
    """Dates, names and strength are checked before it is shown to anybody."""
    make, what, do = BAD[name]
    make().write(tmp_path, "a")
    with pytest.raises(BadCertificates) as caught:
        load_folder(tmp_path, NOW)
    (problem,) = caught.value.problems
    assert what in problem.what
    assert do in problem.do


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """Three files, three lines."""
    for name, text in (("a.crt", b""), ("b.pem", b""), ("c.crt", GOOD.chain_pem)):
        put(tmp_path / name, text)
    with pytest.raises(BadCertificates) as caught:
        load_folder(tmp_path, NOW)
    assert len(caught.value.problems) == 3


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Said as such."""
    with pytest.raises(BadCertificates) as caught:
        load_folder(tmp_path / "nowhere", NOW)
    assert "no such file" in caught.value.problems[0].what


def test_one_that_ended_in_use_hinders_no_other_ones_renewal(tmp_path: Path) -> None:
    """It is a warning then; a new one that has ended is an error."""
    GOOD.write(tmp_path, "a.example")
    first = load_folder(tmp_path, NOW)
    later = NOW + 91 * DAY
    MIDDLE.issue("b.example", not_after=later + DAY).write(tmp_path, "b.example")
    with pytest.raises(BadCertificates):
        load_folder(tmp_path, later)
    authority = Authority.root("Lasting", not_after=later + DAY)
    authority.issue("b.example", not_after=later + DAY).write(tmp_path, "b.example")
    second = load_folder(tmp_path, later, current=first)
    assert [one.names for one in second.all] == [("a.example",), ("b.example",)]
    assert any("ended" in warning for warning in second.warnings)


def test_warnings_stop_nothing(tmp_path: Path) -> None:
    """Readable key, lonely key, twin, and a chain that our own trust does not lead to."""
    GOOD.write(tmp_path, "a.example")
    (tmp_path / "a.example.key").chmod(0o666)
    GOOD.write(tmp_path, "twin")
    put(tmp_path / "lonely.key", GOOD.key_pem)
    bare = Issued(OTHER.certificate, OTHER.key)
    bare.write(tmp_path, "b.example")
    found = load_folder(tmp_path, NOW, anchors=Anchors([ROOT.certificate], partial=False))
    assert len(found) == 2
    text = "\n".join(found.warnings)
    for words in (
        "chmod o-rwx",
        "chmod go-w",
        "lonely.key: no certificate",
        "the same certificate",
        "b.example.crt: peers",
    ):
        assert words in text


def test_the_right_certificate_for_each_domain(tmp_path: Path) -> None:
    """In full before wildcard, the longest-lived among equals, and the configured one before all."""
    MIDDLE.issue("a.example", "b.example", "*.c.example").write(tmp_path, "many")
    MIDDLE.issue("im.c.example").write(tmp_path, "exact")
    MIDDLE.issue("a.example", not_after=NOW + 9 * DAY).write(tmp_path, "short")
    MIDDLE.issue(san=[dns_srv("_imx.d.example")]).write(tmp_path, "srv")
    chosen = {Domain("b.example"): MIDDLE.issue("b.example").write(tmp_path.parent / "else", "named")}
    found = load_folder(tmp_path, NOW, chosen=chosen, domains=[Domain("x.example"), Domain("d.example")])

    def file_of(name: str) -> str | None:
        one = found.for_domain(Domain(name))
        return one.path.stem if one else None

    expected = {
        "a.example": "many", "b.example": "named", "im.c.example": "exact", "x.c.example": "many",
        "xn--mnchen-3ya.c.example": "many", "c.example": None, "y.x.c.example": None, "d.example": "srv",
        "e.example": None,
    }  # fmt: skip
    assert {name: file_of(name) for name in expected} == expected
    assert found.default is found.for_domain(Domain("d.example"))
    assert found.for_name("") is None
    wanted = [Domain("a.example"), Domain("e.example")]
    assert found.without_certificate(wanted) == (Domain("e.example"),)
    (served,) = found.by_certificate(wanted).values()
    assert served == [Domain("a.example")]


def test_a_named_file_must_name_the_domain(tmp_path: Path) -> None:
    """Else a peer would refuse us, and the operator would look in vain."""
    path = GOOD.write(tmp_path, "a.example")
    for chosen in ({Domain("b.example"): path}, {Domain("a.example"): tmp_path / "none.crt"}):
        with pytest.raises(BadCertificates) as caught:
            load_folder(tmp_path, NOW, chosen=chosen)
        assert "b.example" in str(caught.value) or "no such file" in str(caught.value)


def test_a_swap_tells_what_changed(tmp_path: Path) -> None:
    """Added, renewed under another file or name, removed; nothing where nothing changed."""
    store = Certificates()
    first, second = tmp_path / "1", tmp_path / "2"
    for name in ("a.example", "b.example", "c.example"):
        MIDDLE.issue(name).write(first, name)
    assert len(store.swap(load_folder(first, NOW)).added) == 3
    assert not store.swap(load_folder(first, NOW))
    MIDDLE.issue("a.example").write(second, "other-file")
    MIDDLE.issue("b.example", "*.b.example").write(second, "b.example")
    MIDDLE.issue("d.example").write(second, "d.example")
    change = store.swap(load_folder(second, NOW))
    assert [one.names for one in change.added] == [("d.example",)]
    assert [one.path.stem for one in change.renewed] == ["b.example", "other-file"]
    assert [one.names for one in change.removed] == [("c.example",)]
    assert store.current.for_domain(Domain("d.example")) is not None


def test_the_state_of_a_folder_tells_every_change(tmp_path: Path) -> None:
    """A new file, other contents, another file in its place, a link that is turned, one that goes."""
    folder = tmp_path / "folder"
    GOOD.write(folder, "a.example")
    states = [signature_of(folder)]
    put(folder / "sub" / "b.pem", b"1")
    states.append(signature_of(folder))
    put(tmp_path / "new", b"2")
    os.replace(tmp_path / "new", folder / "sub" / "b.pem")  # noqa: PTH105
    states.append(signature_of(folder))
    put(tmp_path / "one", b"2")
    put(tmp_path / "two", b"2")
    (folder / "link.pem").symlink_to(tmp_path / "one")
    states.append(signature_of(folder))
    (folder / "link.pem").unlink()
    (folder / "link.pem").symlink_to(tmp_path / "two")
    states.append(signature_of(folder))
    (folder / "link.pem").unlink()
    states.append(signature_of(folder))
    assert states[5] == states[2]
    assert len(set(states)) == 5
    assert signature_of(folder) == signature_of(folder)
    assert signature_of(tmp_path / "nowhere") == ()


def test_a_hundred_certificates_take_little(tmp_path: Path) -> None:
    """A hoster's folder; `docs/operators/certificates.md` tells the figures."""
    key = ec.generate_private_key(ec.SECP256R1())
    for number in range(100):
        MIDDLE.issue(f"d{number}.example", key=key).write(tmp_path, f"d{number}")
    tracemalloc.start()
    found = load_folder(tmp_path, NOW)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 100
    assert size < 800_000
    assert all(found.for_domain(Domain(f"d{number}.example")) for number in range(100))


def test_an_empty_set_is_a_set() -> None:
    """No certificate, no default, no domain."""
    empty = CertificateSet()
    assert len(empty) == 0
    assert empty.default is None
    assert empty.for_domain(Domain("a.example")) is None


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing whose path holds `forbidden` can be looked at or read; root may do both."""
    stat, scandir = Path.stat, os.scandir

    def refused(path: Path, **options: bool) -> os.stat_result:
        if "forbidden" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    def not_read(path: Path) -> object:
        if "forbidden" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(Path, "stat", refused)
    monkeypatch.setattr(os, "scandir", not_read)


@pytest.mark.usefixtures("forbidden")
@pytest.mark.parametrize("name", ["forbidden.crt", "forbidden"])
def test_one_that_cannot_be_looked_at_spoils_no_other(name: str, tmp_path: Path) -> None:
    """A link into a customer's home, for example: it is told, and the good ones can be used."""
    GOOD.write(tmp_path, "a.example")
    (tmp_path / name).symlink_to(tmp_path)
    with pytest.raises(BadCertificates) as caught:
        load_folder(tmp_path, NOW)
    (problem,) = caught.value.problems
    assert (problem.file, problem.what) == (tmp_path / name, "permission denied")
    assert [one.path.name for one in caught.value.good.all] == ["a.example.crt"]


@pytest.mark.usefixtures("forbidden")
@pytest.mark.parametrize("name", ["b.pem", "b.crt"])
def test_a_named_file_that_cannot_be_looked_at_is_told(name: str, tmp_path: Path) -> None:
    """A domain may name a file elsewhere; that is a problem of the file, not of the router."""
    GOOD.write(tmp_path, "a.example")
    there = tmp_path.parent / "forbidden" / name
    with pytest.raises(BadCertificates) as caught:
        load_folder(tmp_path, NOW, chosen={Domain("b.example"): there})
    (problem,) = caught.value.problems
    assert (problem.file, problem.what) == (there, "permission denied")
    assert len(caught.value.good) == 1


def test_a_key_that_goes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever renews may move it away at any moment; that is no fault of ours."""
    GOOD.write(tmp_path, "a.example")
    read = Path.read_bytes

    def gone(path: Path) -> bytes:
        text = read(path)
        if path.suffix == ".key":
            path.unlink()
        return text

    monkeypatch.setattr(Path, "read_bytes", gone)
    assert len(load_folder(tmp_path, NOW)) == 1
