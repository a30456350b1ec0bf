"""`imxctl check`: the stages tls and identity, from outside and as one of our domains."""

from __future__ import annotations

import pytest

from imxrouter.cli.exits import Exit
from imxrouter.model.domain import Domain
from tests.app.test_check_as import check, stage, states
from tests.doubles.ctl import ctl_json
from tests.doubles.router_rig import Lab, RouterRig, issued

STRICT = {"trust.default_policy": "dialback+certificate"}


def pair(lab: Lab) -> tuple[RouterRig, RouterRig]:
    """Two routers with certificates and the default policy."""
    a = lab.router("a.example", settings=STRICT, certificates=[["a.example"]])
    return a, lab.router("b.example", settings=STRICT, certificates=[["b.example"]])


def test_all_stages_are_good(lab: Lab) -> None:
    """Version, names, end: what a link of the router would meet."""
    a, _ = pair(lab)
    view = check(a)
    assert set(states(view).values()) == {"good"}
    (tls,), (identity,) = stage(view, "tls")["evidence"], stage(view, "identity")["evidence"]
    assert (tls["facts"]["version"], tls["facts"]["server_name"]) == ("TLSv1.3", "b.example")
    assert identity["facts"]["names"] == ["b.example"]
    assert identity["facts"]["expires"]
    peers = ctl_json(a, "peers")
    assert [(one["level"], one["tls"], one["certificate"]) for one in peers] == [
        (peers[0]["level"], ["TLSv1.3"], ["b.example"])
    ]
    assert set(peers[0]["level"].split("+")) >= {"dialback", "tls", "certificate"}
    assert a.call(a.router.metrics.peer_certificates.ends).keys() == {"b.example"}


@pytest.mark.parametrize(
    ("names", "by", "word"),
    [(["m.example"], "laboratory", "wrong-name"), (["b.example"], "stranger", "unknown-authority")],
)
def test_the_words_are_those_of_the_router(lab: Lab, names: list[str], by: str, word: str) -> None:
    """The same reason and the same note, in the check and where a message fails."""
    a, b = pair(lab)
    b.use_tls([issued(*names, by=by)])
    view = check(a, code=Exit.FAILED)
    assert (view["failure"]["step"], view["failure"]["reason"]) == ("identity", "certificate-refused")
    assert view["failure"]["note"].startswith(word)
    a.send("alice@a.example", "bob@b.example").outcome()
    error = a.call(lambda: a.router.federation.destinations.find(Domain("b.example"))).last_error
    assert error.reason.word == "certificate-refused"
    assert view["failure"]["note"] in error.note


def test_no_tls_where_it_is_asked_for(lab: Lab) -> None:
    """The other side speaks in clear: that is told of stage tls, and nothing after it is tried."""
    a = lab.router("a.example", settings=STRICT, certificates=[["a.example"]])
    lab.router("b.example")
    view = check(a, code=Exit.FAILED)
    assert (view["failure"]["step"], view["failure"]["reason"]) == ("tls", "tls-failed")
    assert "does not speak TLS" in view["failure"]["note"]
