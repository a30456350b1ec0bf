"""What `imxctl dns records` publishes of TLS, and what the doctor says of other records."""

from __future__ import annotations

import json

import pytest

from imxrouter.app.trust.published_terms import targets_of
from imxrouter.model.domain import Domain
from tests.doubles.ctl import ctl, ctl_json
from tests.doubles.router_rig import Lab, RouterRig

NAME = "a.example"


def router(lab: Lab, policy: str, tables: str = "", *, names: tuple[str, ...] = (NAME,)) -> RouterRig:
    """A router with a certificate, or without where it has no names."""
    settings = {"trust.default_policy": policy}
    return lab.router(NAME, settings=settings, tables=tables, certificates=[names] if names else [])


#: docs/specs/imx-dns-record.md section 4.3
CODES = {"none": 0, "optional": 1, "required": 2}
PEER = '[[trust.peer]]\ndomain = "weak.example"\npolicy = "dialback"\n'


@pytest.mark.parametrize(
    ("policy", "tables", "names", "tls", "auth"),
    [
        ("dialback", "", (NAME,), "optional", {"dialback", "certificate"}),
        ("dialback", "", ("other.example",), "optional", {"dialback"}),
        ("dialback+tls", "", (NAME,), "required", {"dialback", "certificate"}),
        ("dialback+tls", PEER, (NAME,), "optional", {"dialback", "certificate"}),
        ("dialback", "", (), None, None),
    ],
)
def test_records_say_what_is_offered_and_asked(
    lab: Lab, policy: str, tables: str, names: tuple[str, ...], tls: str | None, auth: set[str] | None
) -> None:
    """A peer that may come in clear is told that it may; without TLS nothing is said."""
    rig = router(lab, policy, tables, names=names)
    (target,) = rig.call(lambda: targets_of(rig.router, Domain(NAME)))
    assert (target.tls, target.auth and set(target.auth)) == (tls, auth)
    text = ctl_json(rig, "dns", "records", NAME)["zone"]
    written = "" if tls is None else f'key65280="\\00{CODES[tls]}"'
    assert written in text
    assert (" key65280=" in text) == (" key65281=" in text) == (tls is not None)


def test_a_listener_for_tls_alone_requires_it(lab: Lab) -> None:
    """Whatever the policy."""
    rig = lab.router(NAME, settings={"listen.tls": "only"}, certificates=[(NAME,)])
    rig.call(lambda: setattr(rig.router.hub.first_bytes, "clear", False))
    assert rig.call(lambda: targets_of(rig.router, Domain(NAME)))[0].tls == "required"


@pytest.mark.parametrize(
    ("policy", "names", "published", "severity", "words"),
    [
        ("dialback+tls", (NAME,), "none", "error", "published with tls=none, and TLS is required here"),
        ("dialback", (NAME,), "none", "warning", "published with tls=none, and TLS is optional here"),
        ("dialback+tls", (NAME,), "optional", "warning", "published with tls=optional, and TLS is required"),
        ("dialback", (), "required", "error", "published with tls=required, and there is no TLS here"),
        ("dialback", (NAME,), "optional", "", ""),
    ],
)
def test_the_doctor_compares(
    lab: Lab, policy: str, names: tuple[str, ...], published: str, severity: str, words: str
) -> None:
    """What keeps peers away is an error; what sends them in vain, or weaker than need be, a warning."""
    rig = router(lab, policy, names=names)
    ((host, port),) = rig.call(lambda: list(rig.router.published()))
    assert host.endswith(f".{NAME}")
    more = f"port={port} key65280=\\00{CODES[published]}"
    lab.zones.load(f"$ORIGIN {NAME}.\n@ 60 IN IMX 1 {host}. {more}\n{host}. 60 IN A {rig.ip}\n")
    view = json.loads(ctl(rig, "--json", "domains", "doctor", NAME).output)
    found = [(one["severity"], one["what"]) for one in view["findings"] if "is published with" in one["what"]]
    assert [one for one, _ in found] == ([severity] if severity else [])
    assert all(words in what for _, what in found)
