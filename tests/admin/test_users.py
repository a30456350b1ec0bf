"""Routes of users: what is read out of bodies and paths, and streams."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imxrouter.admin import routes
from imxrouter.admin.errors import AdminError
from tests.admin.test_admin_socket import raw, until
from tests.doubles.admin_rig import AdminRig
from tests.doubles.admin_users import ALICE, BOB, SUBSCRIPTION
from tests.doubles.reactor_thread import ReactorThread


@pytest.fixture
def rig(reactor_thread: ReactorThread, tmp_path: Path) -> Iterator[AdminRig]:
    """Serve a double for one test."""
    made = AdminRig(reactor_thread, tmp_path / "admin.sock")
    yield made
    made.close()


def ask(rig: AdminRig, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and JSON of one request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} /v1/{path} HTTP/1.0\r\nContent-Length: {len(content)}\r\n\r\n"
    answer = raw(rig, head.encode() + content)
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), json.loads(rest.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    ("method", "path", "body", "where"),
    [
        ("POST", f"users/{BOB}/presence", {"status": "open"}, "instance"),
        ("POST", f"users/{BOB}/presence", {"instance": "x", "status": 1}, "status"),
        ("POST", f"users/{BOB}/presence", {"instance": "x", "status": "open", "notes": "hi"}, "notes"),
        ("POST", f"users/{BOB}/presence", {"instance": "x", "status": "open", "notes": [{}]}, "text"),
        ("POST", f"users/{BOB}/presence", {"instance": "x", "status": "open", "for_s": "1"}, "for_s"),
        ("POST", f"users/{BOB}/presence", {"instance": "x", "status": "open", "audience": [1]}, "audience"),
        *(
            (
                "POST",
                f"users/{BOB}/presence",
                {"instance": "x", "status": "open", "priority": bad},
                "priority",
            )
            for bad in (-129, 128, True, "1", 1.5)
        ),
        ("POST", f"users/{BOB}/subscriptions/{ALICE}", {"for_s": True}, "for_s"),
        ("POST", f"users/{BOB}/subscriptions/{ALICE}", {"for_s": -1}, "for_s"),
        ("POST", f"users/{BOB}/watchers/{ALICE}", {}, "decision"),
        ("POST", f"users/{BOB}/rules", {"who": "*", "decision": "allow"}, "rights"),
        ("DELETE", f"users/{BOB}/rules/*", {}, "rights"),
        ("POST", f"users/{BOB}/delegates/{ALICE}", {"role": None}, "role"),
        ("POST", f"users/{BOB}/contacts/{ALICE}", {"watch": "yes"}, "watch"),
        ("POST", f"users/{BOB}/attributes/alias", {}, "value"),
    ],
)
def test_a_body_that_is_wrong_is_told_by_key(
    rig: AdminRig, method: str, path: str, body: object, where: str
) -> None:
    """With what to send; nothing reaches the port."""
    status, answer = ask(rig, method, path, body)
    assert (status, answer["error"]["where"]) == (400, where)
    assert answer["error"]["do"]
    assert rig.port.users.calls == []


def test_refusals_carry_the_registry(rig: AdminRig) -> None:
    """Reason, stage and retry stand beside what and do; the client has them again."""
    status, answer = ask(rig, "GET", "users/nobody@b.example/presence")
    error = answer["error"]
    assert (status, error["reason"], error["stage"], error["retry"]) == (
        404,
        "unknown-user",
        "service",
        "never",
    )
    with pytest.raises(AdminError) as caught:
        rig.client.user("nobody@b.example").presence()
    assert caught.value.words == {
        "reason": "unknown-user", "stage": "service", "retry": "never", "retry_after_s": 0,
    }  # fmt: skip


def test_names_in_paths_may_have_any_character(rig: AdminRig) -> None:
    """Slashes, spaces and percent signs of instances, groups and keys."""
    user = rig.client.user("ö%/ b@b.example")
    user.retract("a/b c%2F?#", by=ALICE)
    user.remove_attribute("b.example/key")
    assert rig.port.users.calls == [
        ("retract", "ö%/ b@b.example", "a/b c%2F?#", ALICE),
        ("remove_attribute", "ö%/ b@b.example", "b.example/key"),
    ]


def test_a_stream_ends_with_its_client(rig: AdminRig) -> None:
    """Each change is a line; whoever leaves is told no more."""
    changes = rig.client.user(ALICE).follow(BOB)
    first: list[Any] = []
    reader = threading.Thread(target=lambda: first.append(next(changes)))
    reader.start()
    until(lambda: bool(rig.port.users.followers))
    rig.thread.call(rig.port.users.followers[0], SUBSCRIPTION)
    reader.join(30)
    assert first == [SUBSCRIPTION]
    changes.close()  # type: ignore[attr-defined]
    until(lambda: not rig.port.users.followers)
    assert rig.port.users.calls == [("follow", ALICE, BOB)]


def test_every_route_is_found_by_its_own_pattern() -> None:
    """No route stands in another's way."""
    for method, pattern in routes.TABLE:
        path = "/v1/" + pattern.replace("*", "x")
        assert routes.find(method, path) == (pattern, ["x"] * pattern.count("*"))
