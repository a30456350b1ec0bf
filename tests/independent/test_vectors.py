"""The independent implementation gives what the vectors say, and imports nothing of imxrouter."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.independent import codec as c
from tests.independent import operations as o
from tests.independent.link import NAMES, Link
from tests.independent.router import Outcome, Router

HERE = Path(__file__).parent
PAIR = (b"a.example", b"b.example")
ERRORS = {"RecordTooLarge": c.TooLarge, "WireError": c.Malformed, "UnknownCritical": c.UnknownCritical}


def vectors(name: str) -> Any:
    """One of the files."""
    return json.loads((HERE.parent / "vectors" / name).read_text())


def named(items: list[Any]) -> list[Any]:
    """Parameters with the names of their vectors."""
    return [pytest.param(item, id=item["name"]) for item in items]


@pytest.mark.parametrize("module", ["codec", "link", "router", "operations", "presence"])
def test_nothing_of_imxrouter_is_imported(module: str) -> None:
    """Only the standard library and each other."""
    for node in ast.walk(ast.parse((HERE / f"{module}.py").read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert not [name for name in names if name.startswith(("imxrouter", "tests", "twisted"))]


@pytest.mark.parametrize("vector", named(vectors("records.json")["vectors"]))
def test_record(vector: Any) -> None:
    """What is read is what the vector means, and is written back byte by byte."""
    raw, means = bytes.fromhex(vector["hex"]), vector["record"]
    record = c.decode(raw)
    assert c.check_length(raw, 65536) == len(raw)
    assert c.encode(record) == raw
    assert [record.kind, record.flags, record.hops, record.tag] == [
        means["type"], means["flags"], means["hops_left"], int(means["route_tag"], 16),
    ]  # fmt: skip
    assert [(number, value.hex()) for number, value in record.fields] == [
        (one["type"], one["value"]) for one in means["fields"]
    ]
    assert record.body.hex() == means["body"]
    if record.routed:
        assert record.to.decode() == f"{means['to_local']}@{means['to_domain']}"
        assert record.sender.decode() == f"{means['from_local']}@{means['from_domain']}"
    else:
        assert c.read_control(record) is not None


@pytest.mark.parametrize("vector", named(vectors("bad.json")["records"]))
def test_bad_record(vector: Any) -> None:
    """Each is refused at the stage that the vector names."""
    raw = bytes.fromhex(vector["hex"])
    if vector["judged"] != "header":
        assert c.check_length(raw, 65536) == len(raw)
    judge: dict[str, Callable[[], object]] = {
        "header": lambda: c.check_length(raw, 65536),
        "record": lambda: c.decode(raw),
        "control": lambda: c.read_control(c.decode(raw)),
        "outcome": lambda: c.read_outcome(c.decode(raw).body),
    }
    with pytest.raises(ERRORS[vector["error"]]):
        judge[vector["judged"]]()


def shown(found: Iterable[tuple[bytes, bytes, int]]) -> list[dict[str, Any]]:
    """Attributes as a vector has them."""
    return [{"name": name.decode(), "value": value.hex(), "keep_s": keep} for name, value, keep in found]


def meaning(record: c.Record) -> dict[str, Any]:
    """What a record of sections 7.6 to 7.11 says, as a vector has it."""
    state, duration = record.first(c.SUBSCRIPTION_STATE) or b"", record.first(c.DURATION) or b""
    if record.kind == c.SUBSCRIBE:
        ident, duration_s = o.read_subscribe(record)
        form = record.first(c.ORIGINAL_FORM)
        whole = {"original_form": form.hex()} if form else {}
        return {"subscription_id": ident.hex(), "duration_s": duration_s, **whole}
    if record.kind == c.FOREIGN:
        protocol, content = o.read_foreign(record)
        return {"protocol": protocol.decode(), "content": content.hex()}
    if record.kind == c.SUBSCRIBE | c.RESPONSE:
        return {"state": state[0], "duration_s": int.from_bytes(duration, "big")}
    if record.kind == c.ATTRIBUTES:
        return {"names": [name.decode() for name in o.read_names(record)]}
    if record.kind == c.ATTRIBUTES | c.RESPONSE:
        return {"values": shown(o.read_values(record.body[8:]))}
    told = o.read_notify(record)
    unknown = told.unknown and {"reason": NAMES[told.unknown[0]], "domain": told.unknown[1].decode()}
    return {
        "presentity": told.presentity.decode(), "watcher": record.to.decode(),
        "subscription_id": told.ident.hex(), "state": told.standing[0], "end_reason": told.standing[1],
        "version": told.version and list(told.version), "duration_s": told.duration_s,
        "attributes": shown(told.attributes), "basic": o.basic(told.document) if told.document else "",
        "unknown": unknown,
    }  # fmt: skip


@pytest.mark.parametrize("vector", vectors("operations.json")["meanings"], ids=lambda one: one["record"])
def test_operation(vector: Any) -> None:
    """What is read is what the vector means."""
    (raw,) = [one["hex"] for one in vectors("records.json")["vectors"] if one["name"] == vector["record"]]
    assert meaning(c.decode(bytes.fromhex(raw))) == vector["means"]


@pytest.mark.parametrize("vector", named(vectors("operations.json")["refused"]))
def test_refused_operation(vector: Any) -> None:
    """With the reason that the vector names."""
    with pytest.raises(o.BadOperation, match=f"^{vector['reason']}$"):
        meaning(c.decode(bytes.fromhex(vector["hex"])))


def test_token() -> None:
    """The recommended token, minted and judged."""
    file = vectors("tokens.json")
    key, facts = c.domain_key(bytes.fromhex(file["operator_secret"]), PAIR[0]), file["facts"]
    host, nonce = bytes.fromhex(facts["server"]), bytes.fromhex(facts["nonce"])
    numbers = (facts["link"], facts["claim"], nonce, facts["expires_at"], facts["process"])
    made = c.mint(key, PAIR, host, *numbers)
    assert made.hex() == file["token"]
    for one in file["presented"]:
        pair = (one["from_domain"].encode(), one["to_domain"].encode())
        reason = c.judge(bytes.fromhex(one["token"]), key, host, pair, one["at"])
        assert (reason or "none") == one["reason"], one["name"]


def test_answers() -> None:
    """What returns in PROOF, under each view of the first connection."""
    file = vectors("answers.json")
    secret, exporter, token = (bytes.fromhex(file[name]) for name in ("secret", "exporter", "token"))
    for one in file["answers"]:
        assert c.answer(one["view"], secret, exporter, PAIR, token).hex() == one["answer"]


class Wire(asyncio.Transport):
    """Takes down what a link writes."""

    def __init__(self) -> None:
        super().__init__()
        self.said = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        """Bytes."""
        self.said += data

    def close(self) -> None:
        """The link ends the connection."""
        self.closed = True

    def next(self) -> c.Record:
        """The next record that the link said."""
        size = c.check_length(self.said, 65536)
        raw = bytes(self.said[:size])
        del self.said[:size]
        return c.decode(raw)


async def nobody(_: c.Record) -> Outcome:
    """A service without users."""
    return 1, "unknown-user"


def link_on(wire: Wire, *, opener: bool) -> Link:
    """A link of a.example or b.example."""
    link = Link(Router({PAIR[0] if opener else PAIR[1]}, {}, nobody), {PAIR[1]} if opener else None)
    link.connection_made(wire)
    return link


@pytest.mark.parametrize("vector", named(vectors("bad.json")["links"]))
def test_bad_link(vector: Any) -> None:
    """The link ends with the CLOSE that the vector names."""

    async def feed() -> None:
        wire, opener = Wire(), vector["state"].endswith("opener")
        link = link_on(wire, opener=opener)
        if "opened" in vector["state"]:
            link.data_received(c.control(c.HELLO, (c.VERSIONS, 1)))
            assert wire.next().kind == c.HELLO
        link.data_received(bytes.fromhex(vector["hex"]))
        close = wire.next()
        assert close.kind == c.CLOSE
        assert NAMES[int.from_bytes(close.first(c.REASON) or b"")] == vector["reason"]
        assert wire.closed

    asyncio.run(feed())


@pytest.mark.parametrize("conversation", named(vectors("conversations.json")["conversations"]))
def test_conversation(conversation: Any) -> None:
    """Each side takes what the other one says, and says by itself what is marked so."""

    async def talk() -> None:
        wires: dict[tuple[int, str], Wire] = {}
        links: dict[tuple[int, str], Link] = {}
        for step in conversation["steps"]:
            number, side = step["connection"], step["from"]
            for name in ("opener", "acceptor"):
                if (number, name) not in links:
                    wires[number, name] = Wire()
                    links[number, name] = link_on(wires[number, name], opener=name == "opener")
            raw = bytes.fromhex(step["hex"])
            if step["automatic"]:
                said = wires[number, side].next()
                assert said.kind == c.decode(raw).kind
                assert said.kind == c.HELLO or c.encode(said) == raw
            links[number, "acceptor" if side == "opener" else "opener"].data_received(raw)
        assert {link.close_reason for link in links.values()} <= {"", "idle"}

    asyncio.run(talk())
