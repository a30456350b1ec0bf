"""The ports inside this process: one answer that fails keeps no other back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from imxrouter.model.operations import AttributeQuery
from imxrouter.model.outcome import SUCCESS, Outcome
from imxrouter.transport.gateway_port import GatewayPort
from imxrouter.transport.inside import InsidePort
from imxrouter.wire.record import Envelope, Record, decode_record, encode_record, response_to
from imxrouter.wire.registry import RecordType
from tests.gateways.embedded.rigs import at


class Hub:
    """Keeps what is injected."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.settings = SimpleNamespace(credit_requests=10, credit_bytes=1 << 20)
        self.switch = SimpleNamespace(inside=[])

    def next_port_number(self) -> int:
        """Of the one port."""
        return 1

    def attach(self, _sink: object) -> None:
        """Nothing is written."""

    def inject(self, _port: object, data: bytes) -> None:
        """What the port sends."""
        self.sent.append(decode_record(data))

    def submit(self, port: object, record: bytes, taken: Any) -> None:
        """A request of the gateway."""
        self.inject(port, record)
        taken()


def answers(hub: Hub) -> bytes:
    """One answer to each request, in one go."""
    return b"".join(encode_record(response_to(one, SUCCESS)) for one in hub.sent)


def fails_once(got: list[object]) -> Any:
    """Takes answers; a bug meets the first."""

    def take(answer: object) -> None:
        got.append(answer)
        if len(got) == 1:
            raise ValueError("a bug")

    return take


def test_an_answer_to_the_router_that_fails() -> None:
    """The others of the same read are answered."""
    hub, got = Hub(), list[object]()
    port = InsidePort(cast("Any", hub))
    respond = fails_once(got)
    for number in range(3):
        ident = bytes([number]) * 16
        envelope = Envelope(b"", b"b.example", b"", b"a.example")
        port.submit(Record(RecordType.ECHO, message_id=ident, envelope=envelope), respond)
    port.take(answers(hub))
    assert len(got) == 3


def test_an_answer_to_a_gateway_that_fails() -> None:
    """The same."""
    hub, got = Hub(), list[Outcome]()
    port = GatewayPort(cast("Any", hub))
    answer = fails_once(cast("list[object]", got))
    for number in range(3):
        port.submit(AttributeQuery(at("a@a.example"), at("b@b.example"), bytes([number]) * 16, ()), answer)
    port.take(answers(hub))
    assert [one.ok for one in got] == [True] * 3
