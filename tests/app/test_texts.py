"""Plain text and text/html-lite between users of embedded services, by `imxctl`'s own requests (IMX-28)."""

from __future__ import annotations

import json
import threading

import pytest

from imxrouter.admin.client import AdminClient
from imxrouter.admin.errors import AdminError
from imxrouter.admin.views import MessageView
from imxrouter.gateways.embedded.texts import shown
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from tests.doubles.router_rig import Lab, RouterRig


def console(rig: RouterRig) -> AdminClient:
    """A client of the router's administration socket."""
    return AdminClient(rig.router.config.admin_socket, timeout_s=30)


def test_html_lite_crosses_and_is_shown_as_text(lab: Lab) -> None:
    """What the type does not allow is taken out before it is sent; who watches reads text."""
    a, b = lab.router("a.example"), lab.router("b.example")
    text = '<p onclick="steal()">Dear <b>Bob</b>,</p><script>steal()</script><ul><li>one</li></ul>'
    seen: list[MessageView] = []
    watching = threading.Thread(target=lambda: seen.append(next(console(b).watch("bob@b.example"))))
    watching.start()
    bob = Address.parse("bob@b.example")
    lab.wait_until(lambda: b.router.embedded["home"].inboxes.programs(bob), "watcher")
    outcome = console(a).send("alice@a.example", "bob@b.example", text, html=True)
    assert outcome["status"] == "success", json.dumps(outcome)
    watching.join(30)
    (one,) = seen
    assert one["content_type"].startswith("text/html-lite")
    assert "Dear Bob" in one["text"]
    assert "one" in one["text"]
    assert not set("<>") & set(one["text"])
    assert "steal" not in one["text"]
    ((_, sent),) = b.inbox("bob@b.example")
    assert "<b>Bob</b>" in sent
    assert "steal" not in sent


def test_more_than_the_type_may_hold_is_refused_by_name(lab: Lab) -> None:
    """Before anything is sent."""
    a = lab.router("a.example")
    with pytest.raises(AdminError, match="characters"):
        console(a).send("alice@a.example", "bob@b.example", "x" * 40_000, html=True)


@pytest.mark.parametrize(
    ("content_type", "content", "text"),
    [
        ("text/plain; charset=utf-8", "<b>héllo</b>".encode(), "<b>héllo</b>"),
        ("Text/HTML-lite", b"a &lt; <i>b</i>", "a < b"),
        ("text/html-lite; charset=utf-8", b"<b>" * 500, "[text/html-lite that is not shown"),
        ("application/octet-stream", b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_what_is_shown_of_a_content(content_type: str, content: bytes, text: str) -> None:
    """Nothing raises, and no mark-up is taken for text where the type says what it is."""
    alice, bob = Address.parse("alice@a.example"), Address.parse("bob@b.example")
    assert shown(Message(alice, bob, bytes(16), content_type, content)).startswith(text)
