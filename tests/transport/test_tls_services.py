"""Logins of services over TLS: by key, by certificate; an uplink whose identity is judged; several links."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.task import Clock

from imxrouter.model.domain import Domain
from imxrouter.model.vocabulary import Reason
from imxrouter.switch import slots
from imxrouter.tls.own import OwnCertificate
from imxrouter.tls.peer import Anchors, PeerCertificate
from imxrouter.transport import services
from imxrouter.transport.draining import DrainState
from imxrouter.transport.services import UPLINK_RETRY_S, UplinkDialer
from tests.doubles.router_rig import Lab, RouterRig, anchors_of, authority, issued, login_key

#: A domain of the service, whose router stands behind a firewall.
TENANT = "t.example"


def hub_router(
    lab: Lab, *, key: int = 0, certificate: str = "", own: OwnCertificate | None = None
) -> RouterRig:
    """An aggregator that takes a service's login; not a laboratory."""
    words = f'key = "{login_key(key).public_key().public_bytes_raw().hex()}"\n' if key else ""
    words += f'certificate = "{certificate}"\n' if certificate else ""
    text = f'[[service]]\nname = "tenant"\nkind = "imx"\n{words}'
    text += f'[[domain]]\nname = "{TENANT}"\nservice = "tenant"\n'
    rig = lab.router("hub.example", tables=text, certificates=[])
    rig.use_tls([own or issued("hub.example")])
    return rig


def tenant_router(
    lab: Lab,
    hub: RouterRig,
    *,
    key: int = 0,
    name: str = "hub.example",
    trust: str = "laboratory",
    own: OwnCertificate | None = None,
    **more: Any,
) -> RouterRig:
    """A router that logs in at the aggregator; its users are behind it."""
    folder = lab.folder / f"tenant{key}{len(lab.routers)}"
    folder.mkdir()
    lines = ""
    if key:
        (folder / "key").write_text(login_key(key).private_bytes_raw().hex())
        lines = f'key_file = "{folder / "key"}"\n'
    (folder / "ca.pem").write_bytes(authority(trust).certificate.public_bytes(Encoding.PEM))
    ip, port = hub.endpoint
    text = f'[[uplink]]\nname = "hub"\naddress = "{ip}:{port}"\nserver_name = "{name}"\n{lines}'
    text += f'anchor = "{folder / "ca.pem"}"\n'
    settings: dict[str, object] = {}
    if not key:
        settings["tls.certificates"] = str(write(folder / "certs", own or issued(TENANT)))
        settings["tls.trust"] = [str(folder / "ca.pem")]
    return lab.router(TENANT, tables=text, publish=False, settings=settings, **more)


def write(folder: Path, own: OwnCertificate) -> Path:
    """Leave a certificate in a folder."""
    folder.mkdir()
    (folder / "own.crt").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in own.chain))
    pem = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "own.key").write_bytes(pem)
    (folder / "own.key").chmod(0o600)
    return folder


def logged_in(lab: Lab, hub: RouterRig, *tenants: RouterRig) -> None:
    """Wait until these links of the service are up, and no other, as both sides see it."""

    def up() -> bool:
        theirs = all(one.router.switch.uplinks for one in tenants)
        return theirs and len(hub.router.switch.routes[TENANT.encode()].ports) == len(tenants)

    lab.wait_until(up, f"{len(tenants)} logins")


def test_a_key_signs_the_tls_session(lab: Lab) -> None:
    """Outside of laboratories a login is taken over TLS, and its signature holds for this session alone."""
    hub = hub_router(lab, key=7)
    tenant = tenant_router(lab, hub, key=7)
    logged_in(lab, hub, tenant)
    (link,) = [one for one in hub.sessions() if one.service]
    assert link.tls is not None
    assert tenant.send(f"alice@{TENANT}", "bob@hub.example").outcome().ok
    assert hub.send("bob@hub.example", f"alice@{TENANT}").outcome().ok


@pytest.mark.parametrize("pinned", [False, True])
def test_a_certificate_instead_of_a_key(lab: Lab, pinned: bool) -> None:
    """By the domain that it names, or by its fingerprint."""
    word = f"sha256:{issued(TENANT).fingerprint.hex()}" if pinned else TENANT
    hub = hub_router(lab, certificate=word)
    tenant = tenant_router(lab, hub)
    logged_in(lab, hub, tenant)
    assert tenant.send(f"alice@{TENANT}", "bob@hub.example").outcome().ok


@pytest.mark.parametrize(("bound", "by"), [("other.example", "laboratory"), (TENANT, "stranger")])
def test_a_certificate_that_is_not_bound_is_refused(lab: Lab, bound: str, by: str) -> None:
    """Another's certificate of the same authority, and the right name of an authority that is not trusted."""
    hub = hub_router(lab, certificate=bound)
    tenant_router(lab, hub, own=issued(TENANT, by=by))
    counters, slot = hub.router.switch.counters, slots.REASON_SLOT[Reason.LOGIN_FAILED]
    lab.wait_until(lambda: counters[slot], "it is refused")
    assert not hub.router.switch.routes[TENANT.encode()].ports


@pytest.mark.parametrize(("name", "trust"), [("wrong.example", "laboratory"), ("hub.example", "stranger")])
def test_an_uplink_that_is_somebody_else_is_not_spoken_to(lab: Lab, name: str, trust: str) -> None:
    """Its certificate names another domain, or comes from elsewhere: nothing is signed there."""
    hub = hub_router(lab, key=7)
    told: list[dict[str, object]] = []
    lab.watch(told.append)
    tenant_router(lab, hub, key=7, name=name, trust=trust)
    lab.wait_until(lambda: any("uplink" in str(one.get("log_format")) for one in told), "it is told")
    assert any(one.get("reason") == "certificate-refused" for one in told)
    assert not [one for one in hub.sessions() if one.service]


def test_several_links_of_a_service_share_the_load(lab: Lab) -> None:
    """Messages go over both; when one goes away, the other takes over and nothing is lost or doubled."""
    hub = hub_router(lab, key=7)
    one, two = tenant_router(lab, hub, key=7), tenant_router(lab, hub, key=7)
    logged_in(lab, hub, one, two)
    sent = [hub.send("bob@hub.example", f"alice@{TENANT}", str(n)) for n in range(16)]
    assert all(each.outcome().ok for each in sent)
    got = [text for rig in (one, two) for _, text in rig.inbox(f"alice@{TENANT}")]
    assert sorted(got, key=int) == [str(n) for n in range(16)]
    assert one.inbox(f"alice@{TENANT}")
    assert two.inbox(f"alice@{TENANT}")
    one.stop()
    logged_in(lab, hub, two)
    assert hub.send("bob@hub.example", f"alice@{TENANT}", "last").outcome().ok
    assert two.inbox(f"alice@{TENANT}")[-1] == ("bob@hub.example", "last")


def test_trust_of_a_pinned_peer_is_its_own(lab: Lab) -> None:
    """Its anchor replaces the common ones, for it alone."""
    a = lab.router("a.example", settings={"trust.default_policy": "dialback+certificate"}, certificates=[])
    own = anchors_of("stranger")
    contexts = a.router.link_tls.ends
    assert contexts is not None
    pinned: dict[str, Anchors] = {"b.example": own}
    a.call(lambda: a.router.link_tls.use(contexts.contexts, lambda: lab.anchors, pinned))
    peer = issued("b.example", by="stranger")
    shown = PeerCertificate(peer.leaf, peer.chain)
    assert a.call(lambda: a.router.link_tls.judge(shown, Domain("b.example"), False)).good
    both = issued("b.example", "c.example", by="stranger")
    shown = PeerCertificate(both.leaf, both.chain)
    assert not a.call(lambda: a.router.link_tls.judge(shown, Domain("c.example"), False)).good


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.99])
def test_uplinks_are_dialled_at_a_moment_of_their_own(chance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Routers that start together do not come together."""
    clock, dialled = Clock(), list[float]()
    dialer = UplinkDialer(cast("Any", None), clock, cast("Any", None), None, (0.0, 0.0), lambda: chance)
    monkeypatch.setattr(dialer, "start", lambda: dialled.append(clock.seconds()))
    dialer.begin()
    clock.pump([UPLINK_RETRY_S[0] / 100] * 100)
    assert dialled == [pytest.approx(chance * UPLINK_RETRY_S[0], abs=UPLINK_RETRY_S[0] / 50)]


def test_an_uplink_is_dialled_again_when_the_router_is_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is out of service the tries come to nothing; none is left when it is taken back."""
    monkeypatch.setattr(services, "UPLINK_RETRY_S", (0.02, 0.02))
    hub = hub_router(lab, key=7)
    tenant = tenant_router(lab, hub, key=7)
    logged_in(lab, hub, tenant)
    tenant.call(lambda: tenant.router.draining.drain(2.0))
    lab.wait_until(lambda: tenant.router.drain.state is DrainState.DRAINED, "it is drained")
    until = monotonic() + 0.3
    lab.wait_until(lambda: monotonic() > until, "the tries are over")
    assert not tenant.router.switch.uplinks
    tenant.call(tenant.router.draining.undrain)
    logged_in(lab, hub, tenant)
