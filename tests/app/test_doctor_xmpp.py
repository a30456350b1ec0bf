"""`imxctl dns records` and `domains doctor` where XMPP is spoken, against whole routers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from imxrouter.cli.exits import Exit
from tests.app.test_doctor import look, look_anyhow, told
from tests.doubles.ctl import ctl_json
from tests.doubles.router_rig import Lab, RouterRig, free_port, fresh_address, issued
from tests.doubles.xmpp_server import Conduct, XmppServer

A = "a.example"


def streaming(lab: Lab, *protocols: str, **settings: object) -> RouterRig:
    """A router that takes streams, and whose domain publishes these protocols."""
    ip = fresh_address()
    endpoint = (ip, free_port(ip))
    given: dict[str, object] = {"xmpp.listen": [f"{ip}:{free_port(ip)}"], **settings}
    rig = lab.router(A, publish=False, endpoint=endpoint, settings=given, certificates=[[A, f"router.{A}"]])
    more = [word for one in protocols for word in ("--protocol", one)]
    ctl_json(rig, "domains", "change", A, *more)
    return rig


def port_of(rig: RouterRig) -> int:
    """Where it takes streams."""
    return int(rig.router.config.xmpp.endpoints[0].port)


def publish(lab: Lab, rig: RouterRig, zone: str = "") -> None:
    """Do what the doctor says, or something else."""
    text = zone or look_anyhow(rig, A)["publish"]
    lab.zones.load(f"{text}\nrouter.{A}. 60 IN A {rig.ip}\n", A)
    rig.forget_dns()


def test_records_go_by_what_a_domain_publishes(lab: Lab) -> None:
    """Both, XMPP alone, and the record that says that there is none."""
    both = streaming(lab, "imx", "xmpp")
    server = f"router.{A}."
    view: Any = ctl_json(both, "dns", "records", A)
    record = f"_xmpp-server._tcp.{A}. 3600 IN SRV 0 5 {port_of(both)} {server}"
    assert view["xmpp"] == [record]
    assert len(view["srv"]) == 3
    assert record in view["zone"]
    assert any(f"_{port_of(both)}._tcp.{server}" in line for line in view["tlsa"])
    ctl_json(both, "domains", "change", A, "--protocol", "xmpp")
    view = ctl_json(both, "dns", "records", A)
    assert (view["imx"], view["svcb"], view["srv"], view["xmpp"]) == ([], [], [], [record])
    ctl_json(both, "domains", "change", A, "--protocol", "imx")
    view = ctl_json(both, "dns", "records", A)
    assert view["xmpp"] == [f"_xmpp-server._tcp.{A}. 3600 IN SRV 0 0 0 ."]
    assert len(view["srv"]) == 3
    without = lab.router("b.example")
    assert ctl_json(without, "dns", "records", "b.example")["xmpp"] == []


def test_what_is_published_as_told_is_good(lab: Lab) -> None:
    """The doctor finds the records, and this router's certificate behind them."""
    rig = streaming(lab, "imx", "xmpp")
    missing = look(rig, code=Exit.FAILED)
    assert any(
        "_xmpp-server._tcp" in one["what"] for one in missing["findings"] if one["severity"] == "error"
    )
    publish(lab, rig)
    view = look_anyhow(rig, A)
    words = [one["what"] for one in view["findings"] if one["severity"] == "good"]
    assert f"_xmpp-server._tcp.{A} SRV: as it should be" in words
    assert any("for XMPP" in one for one in words)
    assert not [one for one in view["findings"] if one["severity"] == "error"]


def test_records_that_lead_past_this_router_are_an_error(lab: Lab) -> None:
    """To another server, whoever runs it: messages of its users pass here by."""
    rig = streaming(lab, "xmpp")
    with ExitStack() as stack:
        other = stack.enter_context(XmppServer(A, fresh_address(), Conduct(issued(A))))
        zone = f"_xmpp-server._tcp 60 IN SRV 0 5 {other.endpoint[1]} other\nother 60 IN A {other.endpoint[0]}"
        publish(lab, rig, zone)
        view = look(rig, code=Exit.FAILED)
    assert ("dialback", "not-mine") in told(view, "error")
    differs = next(one for one in view["findings"] if one["severity"] == "warning" and "SRV" in one["what"])
    assert any(one.startswith("wanted: ") for one in differs["evidence"])


def test_where_xmpp_is_not_published_its_absence_is_asked_for(lab: Lab) -> None:
    """As a note: servers would try the address of the domain."""
    rig = streaming(lab, "imx")
    view = look_anyhow(rig, A)
    notes = [one["what"] for one in view["findings"] if one["severity"] == "note"]
    assert f"_xmpp-server._tcp.{A} SRV: not published" in notes
    publish(lab, rig)
    view = look_anyhow(rig, A)
    assert f"_xmpp-server._tcp.{A} SRV: as it should be" in [one["what"] for one in view["findings"]]


def test_our_own_key_comes_back_through_the_published_address(lab: Lab) -> None:
    """As any server would ask that we claim to; and the certificate counts for servers that want one."""
    rig = streaming(lab, "imx", "xmpp")
    publish(lab, rig)
    view = look_anyhow(rig, A)
    good = [one["what"] for one in view["findings"] if one["severity"] == "good"]
    assert any(one.endswith(f"knows a dial-back key of {A} for our own") for one in good), good
    assert any(one.startswith("XMPP: the certificate at ") and f"counts for {A}" in one for one in good)
    assert rig.call(lambda: rig.router.streams.trust.tongue.checking) == set()


def test_a_host_with_other_keys_is_an_error(lab: Lab) -> None:
    """It serves the domain, and servers that ask it would be told that our claims are not ours."""
    rig = streaming(lab, "xmpp")
    other = streaming(lab, "xmpp")
    zone = f"_xmpp-server._tcp 60 IN SRV 0 5 {port_of(other)} other\nother 60 IN A {other.ip}"
    publish(lab, rig, zone)
    view = look(rig, code=Exit.FAILED)
    assert ("dialback", "not-mine") in told(view, "error")
    assert any("key_file" in one["remedy"] for one in view["findings"] if one["reason"] == "not-mine")


def test_a_certificate_that_does_not_name_the_domain_is_told(lab: Lab) -> None:
    """Servers that ask for certificates do not take it, whatever dial-back says."""
    rig = streaming(lab, "xmpp")
    rig.use_tls([issued("somebody.example")])
    publish(lab, rig)
    view = look_anyhow(rig, A)
    assert ("identity", "certificate-refused") in told(view, "warning")
