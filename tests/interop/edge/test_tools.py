"""What operators look with, against Prosody and ejabberd: trace, check, check --as, links, doctor."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminError
from tests.interop.edge.names import Mode
from tests.interop.edge.pairs import Pair
from tests.interop.edge.places import EJABBERD, PROSODY, RESOLVER, ROUTER, Edge
from tests.interop.edge.test_outside_router import OutsideRouter
from tests.interop.edge.whole import WholeRouter
from tests.interop.netlab import run, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

SIDES: Final = {"prosody": PROSODY, "ejabberd": EJABBERD}
_BIN: Final = Path(sys.executable).parent


@pytest.fixture(scope="module")
def outside(built: Edge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutsideRouter]:
    """A router far from both servers, which they take for a server among others."""
    made = OutsideRouter(built, tmp_path_factory.mktemp("tools") / "router")
    yield made
    made.kill()


# -- trace -------------------------------------------------------------------------------------------------


def traced(client: AdminClient, ident: str) -> dict[str, Any]:
    """The last step of a message that says what became of it, found by the id of its stanza."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        try:
            view = client.trace(ident)
        except AdminError:
            return False
        found[:] = [step["fields"] for step in view["steps"] if step["event"] == "answered"]
        return bool(found)

    wait_until(look, f"{ident} is traced to its end")
    return found[-1]


def said(pair: Pair, *, back: bool = False) -> str:
    """One writes to the other, who reads it; the id of the stanza."""
    sender, receiver = pair.both_ways[back]
    ident = f"m{time.monotonic_ns()}"
    head = f"<message xmlns='jabber:client' to='{receiver.address}' id='{ident}' type='chat'>"
    sender.ask("raw", xml=f"{head}<body>{ident}</body></message>")
    receiver.until_reads(ident, sender.address)
    return ident


def test_traces_across_protocols(lab: Edge, whole: dict[str, WholeRouter]) -> None:
    """XMPP to XMPP between inside and outside, to IMX, and from IMX: by what, how proved, and why."""
    prosody, ejabberd = (whole[name].client for name in SIDES)
    pair = Pair.fresh(lab, "prosody-behind")
    went, came = traced(prosody, said(pair)), traced(prosody, said(pair, back=True))
    assert (went["protocol"], went["role"], went["service"]) == ("xmpp", "service", "chat")
    assert (went["out_protocol"], went["out_role"]) == ("xmpp", "peer")
    assert "certificate" in went["out_level"]
    assert went["choice"].startswith("xmpp (")
    assert went["confirmed"]
    assert (came["protocol"], came["role"]) == ("xmpp", "peer")
    assert (came["out_protocol"], came["out_service"]) == ("xmpp", "chat")
    assert "certificate" in came["level"]

    pair = Pair.fresh(lab, "imx")
    ident = said(pair)
    here, there = traced(prosody, ident), traced(ejabberd, ident)
    assert (here["protocol"], here["out_protocol"], here["out_role"]) == ("xmpp", "imx", "peer")
    assert here["choice"].startswith("imx (")
    assert (there["protocol"], there["out_protocol"], there["out_service"]) == ("imx", "xmpp", "chat")
    assert here["origin"] == there["origin"] == ident
    assert prosody.trace(ident)["id"] == ejabberd.trace(ident)["id"]
    body = json.dumps([prosody.trace(ident), ejabberd.trace(ident)])
    assert body.count(ident) == body.count(f'"origin": "{ident}"')  # it is the text too, which nobody keeps


def test_traces_from_imx_to_a_server(lab: Edge, whole: dict[str, WholeRouter]) -> None:
    """Carol, of a service in a router, writes over IMX to a user of Prosody, behind another router.

    The message is found by its id at both routers, and at the one before Prosody by the id of the stanza that
    Alice's client got as well. Before that she writes to somebody whom Prosody does not know: its error comes
    while the router does not know how her domain is reached, and the answer to the ping right behind it.
    """
    far, near = whole["ejabberd"], whole["prosody"]
    outcome = far.client.send(far.carol, f"nobody@{PROSODY.imx}", "to nobody")
    assert (outcome["status"], outcome["reason"]) == ("failure", "not-delivered"), outcome
    alice = lab.clients.login(lab.fresh("alice", PROSODY.imx), PROSODY.server)
    alice.ask("presence")
    text = f"from carol {time.monotonic_ns()}"
    outcome = far.client.send(far.carol, alice.address, text)
    assert outcome["status"] == "success", outcome
    stanza_id = alice.until_reads(text, far.carol).get("id", "")
    ident = bytes.fromhex(near.client.trace(stanza_id)["id"]).hex()
    here, there = traced(near.client, stanza_id), traced(far.client, ident)
    assert traced(near.client, ident) == here
    assert (there["out_protocol"], there["out_role"]) == ("imx", "peer")
    assert there["choice"].startswith("imx (")
    assert (here["protocol"], here["role"]) == ("imx", "peer")
    assert (here["out_protocol"], here["out_role"], here["out_service"]) == ("xmpp", "service", "chat")
    assert here["confirmed"]
    both = json.dumps([near.client.trace(ident), far.client.trace(ident)])
    assert text not in both


def test_streams_are_listed(lab: Edge, whole: dict[str, WholeRouter]) -> None:
    """Inside and outside, with who is proved on each, and nothing left pending."""
    pair = Pair.fresh(lab, "prosody-behind")
    said(pair)
    said(pair, back=True)
    host = pair.alice.address.partition("@")[2]
    client = whole["prosody"].client

    def streams() -> dict[str, Any]:
        rows: list[Any] = [row for row in client.links() if row["stream"] is not None]
        ours = [row for row in rows if any(host in (one["ours"], one["theirs"]) for one in row["claims"])]
        return {row["stream"]["way"]: row for row in ours}

    wait_until(lambda: {"inside in", "inside out"} <= streams().keys(), "both streams of the inside")
    rows = streams()
    assert {"in", "out"} & rows.keys()
    for way, row in rows.items():
        assert row["claims"], way
        assert row["role"] == ("service" if way.startswith("inside") else "peer")
        assert row["stream"]["stanzas_in"] + row["stream"]["stanzas_out"] > 0
    wait_until(lambda: not sum(one["stream"]["pending"] for one in streams().values()), "all is confirmed")


# -- check -------------------------------------------------------------------------------------------------


def checked(lab: Edge, domain: str) -> Any:
    """`imxctl check` from a host without a router."""
    trust = lab.where / "trusted-outside.pem"
    trust.write_bytes(lab.authorities.outside.issued.chain_pem)
    root = Path(__file__).parents[3]
    command = ["/usr/bin/env", f"PYTHONPATH={root}", str(_BIN / "imxctl"), "--json", "check", domain, "--lab"]
    command += ["--nameserver", RESOLVER, "--trust", str(trust), "--protocol", "xmpp"]
    return json.loads(run(*lab.places["n"].command(*command), check=False).stdout)


def stage(view: Any, name: str) -> Any:
    """One stage."""
    return next(one for one in view["stages"] if one["stage"] == name)


@pytest.mark.parametrize("server", SIDES)
def test_check_from_outside(lab: Edge, server: str) -> None:
    """A good server, one whose certificate nobody vouches for, and a name that is not hosted there."""
    side = SIDES[server]
    view = checked(lab, side.free(Mode.EXTERNAL))
    assert {one["stage"]: one["state"] for one in view["stages"]} == {
        **dict.fromkeys(("dns", "connect", "tls", "identity", "peer"), "good"), "dialback": "not tried",
    }  # fmt: skip
    view = checked(lab, side.free(Mode.TLS))
    assert (view["failure"]["step"], view["failure"]["reason"]) == ("identity", "certificate-refused")
    view = checked(lab, side.free(Mode.CLEAR))
    assert (view["failure"]["step"], view["failure"]["reason"]) == ("tls", "tls-failed")
    (key,) = stage(view, "dialback")["evidence"]
    assert key["facts"]["answer"] == "invalid"  # nobody made it
    view = checked(lab, f"to.{side.free(Mode.EXTERNAL)}")  # an address, and no host of the server
    assert view["failure"]["reason"] == "not-hosted"


def proofs(router: OutsideRouter, domain: str, ours: str) -> tuple[Any, dict[str, Any]]:
    """`imxctl check --as`: the result by XMPP, and what became of each way of proof."""
    view = router.client.check(domain, ours, 5.0)
    (streams,) = [one for one in view["protocols"] if one["protocol"] == "xmpp"]
    told = {
        one["facts"]["proof"]: one
        for one in stage(streams, "dialback")["evidence"]
        if "proof" in one["facts"]
    }
    return streams, told


@pytest.mark.parametrize("server", SIDES)
def test_check_as_one_of_ours(lab: Edge, outside: OutsideRouter, server: str) -> None:
    """Real dial-back, real EXTERNAL: which of them the server takes, by what its host asks for."""
    del lab
    side = SIDES[server]
    for mode in (Mode.CLEAR, Mode.TLS):
        streams, told = proofs(outside, side.free(mode), ROUTER.free(mode))
        assert told["dial-back"]["facts"]["answer"] == "taken", streams
        assert streams["result"] == "good", streams
    streams, told = proofs(outside, side.free(Mode.EXTERNAL), ROUTER.free(Mode.EXTERNAL))
    assert told["SASL EXTERNAL"]["facts"]["answer"] == "taken", streams
    assert streams["result"] == "good", streams


@pytest.mark.parametrize("server", SIDES)
def test_who_has_no_certificate_has_no_proof(lab: Edge, outside: OutsideRouter, server: str) -> None:
    """A host that asks for certificates: a domain of ours without one is told what is missing."""
    del lab
    streams, told = proofs(outside, SIDES[server].free(Mode.EXTERNAL), ROUTER.free(Mode.CLEAR))
    assert streams["result"] == "failed"
    assert streams["failure"]["reason"] == "no-common-proof", streams
    assert told["SASL EXTERNAL"]["facts"]["answer"] == "not tried"
    assert told["dial-back"]["facts"]["answer"] != "taken"


def test_our_own_way_in(lab: Edge, outside: OutsideRouter) -> None:
    """The doctor asks about a key of ours where our records lead."""
    del lab
    outside.client.domain_change(ROUTER.free(Mode.EXTERNAL), {"protocols": ["xmpp"]})
    view = outside.client.domain_doctor(ROUTER.free(Mode.EXTERNAL))
    words = [one["what"] for one in view["findings"] if one["severity"] == "good"]
    assert any(one.endswith("for our own") for one in words), json.dumps(view["findings"])


def test_the_way_in_of_a_server_behind_the_router(lab: Edge, whole: dict[str, WholeRouter]) -> None:
    """The doctor of the router before Prosody: its records lead here, and a key of the domain is ours."""
    del lab
    client = whole["prosody"].client
    client.domain_change(PROSODY.edge, {"protocols": ["xmpp"]})
    view = client.domain_doctor(PROSODY.edge)
    words = {one["what"]: one["severity"] for one in view["findings"]}
    place = f"{PROSODY.router} port 5269"
    known = [what for what, severity in words.items() if severity == "good" and what.endswith("for our own")]
    assert [PROSODY.edge in what for what in known] == [True], json.dumps(view["findings"])
    assert any(place in what and "certificate of this router" in what for what in words), words
    assert not [what for what, severity in words.items() if severity == "error" and "xmpp" in what.lower()]
