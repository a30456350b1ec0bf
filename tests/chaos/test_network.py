"""The network of chaos: what it has seen of a connection when that is cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from imxrouter.formats.mime import TEXT_PLAIN
from imxrouter.model.address import Address
from imxrouter.model.operations import Message
from imxrouter.model.outcome import SUCCESS
from imxrouter.transport.translate import message_to_record
from imxrouter.wire.record import encode_record, response_to
from tests.chaos.network import Mode, Network, _End, _Pipe
from tests.chaos.witness import Life

_MESSAGE = message_to_record(
    Message(
        Address.parse("u@a.example"), Address.parse("u@b.example"), (7).to_bytes(16, "big"), TEXT_PLAIN, b"x"
    )
)


@pytest.fixture
def ends() -> Iterator[tuple[Network, _Pipe, socket.socket, socket.socket]]:
    """A network with one connection, and its ends at the routers; the network's thread does nothing."""
    network = Network([])
    network.close()
    (a, near), (b, far) = socket.socketpair(), socket.socketpair()
    for sock in (near, far):
        sock.setblocking(False)
    pipe = _Pipe(_End(Life("a", 1), near), _End(Life("b0", 1), far))
    network._pipes.append(pipe)
    yield network, pipe, a, b
    for sock in (a, b, near, far):
        sock.close()


def test_a_request_that_nobody_has_read_was_in_flight(
    ends: tuple[Network, _Pipe, socket.socket, socket.socket],
) -> None:
    """It had left its router; so its outcome is in doubt for this cut, on a link new as it may be."""
    network, _, a, _ = ends
    a.sendall(encode_record(_MESSAGE))
    network.reset()
    (cut,) = network.witness.cuts
    assert (cut.open, cut.directions) == (frozenset({7}), 1)


def test_an_answer_that_nobody_has_read_has_not_arrived(
    ends: tuple[Network, _Pipe, socket.socket, socket.socket],
) -> None:
    """Its request is still in flight."""
    network, pipe, a, b = ends
    a.sendall(encode_record(_MESSAGE))
    network._move(pipe, {id(pipe.near)})
    assert b.recv(4096) == encode_record(_MESSAGE)
    b.sendall(encode_record(response_to(_MESSAGE, SUCCESS)))
    network.reset()
    (cut,) = network.witness.cuts
    assert cut.open == {7}


def test_what_one_end_sent_arrives_where_only_that_end_is_cut(
    ends: tuple[Network, _Pipe, socket.socket, socket.socket],
) -> None:
    """Late, as it is held; and it is in flight."""
    network, pipe, a, b = ends
    network.single_out("b0", alone=True)
    a.sendall(encode_record(_MESSAGE))
    network.cut_from_a()
    assert [cut.open for cut in network.witness.cuts] == [{7}]
    network._move(pipe, set())
    assert b.recv(4096) == encode_record(_MESSAGE)


def test_what_was_sent_while_nobody_read_was_in_flight(
    ends: tuple[Network, _Pipe, socket.socket, socket.socket],
) -> None:
    """Its router may have given the link up before it was read; it arrives all the same."""
    network, pipe, a, b = ends
    network.mode = Mode.STALL
    a.sendall(encode_record(_MESSAGE))
    network.passes_again()
    assert [(cut.open, cut.directions) for cut in network.witness.cuts] == [(frozenset({7}), 1)]
    network._move(pipe, set())
    assert b.recv(4096) == encode_record(_MESSAGE)
