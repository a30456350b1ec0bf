"""What stands before broken bytes in one read is done; what cannot be sent again is answered."""

import pytest

from imxrouter.model.outcome import failure
from imxrouter.model.vocabulary import Reason, Status
from imxrouter.switch.ports import Role
from imxrouter.wire.errors import WireError
from imxrouter.wire.fields import Field
from imxrouter.wire.layout import FLAG_RETRY, MAX_FIELDS
from imxrouter.wire.record import Envelope, decode_outcome, decode_record, encode_record, response_to
from imxrouter.wire.registry import CRITICAL_BIT, FieldType
from tests.switch.rig import ALICE, BOB, FAR, HERE, Rig, message

BROKEN = {
    "a length that is none": bytes(4) + bytes(36),
    "a length over the limit": b"\x00\xff\xff\xff" + encode_record(message(9))[4:],
    "an envelope that is none": encode_record(message(9)).replace(b"@", b"#"),
    "fields that are none": encode_record(message(9, fields=(Field(0x7000, b""),))).replace(
        b"\x70\x00\x00\x00", b"\x70\x00\x00\x09"
    ),
    "a refused one whose fields are none": encode_record(
        message(9, envelope=Envelope(BOB, HERE, ALICE, FAR), fields=(Field(0x7000, b""),))
    ).replace(b"\x70\x00\x00\x00", b"\x70\x00\x00\x09"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_requests_before_broken_bytes_go_out(name: str) -> None:
    """They were accepted: they must not wait for a time-out."""
    rig = Rig()
    with pytest.raises(WireError):
        rig.feed(rig.peer, message(1), message(2), BROKEN[name])
    assert [one.message_id for one in rig.out(rig.service)] == [message(1).message_id, message(2).message_id]


def test_responses_before_broken_bytes_go_back() -> None:
    """Their requests are settled and out of the ledger."""
    rig = Rig()
    rig.feed(rig.peer, message(1))
    (request,) = rig.out(rig.service)
    cut = bytearray(encode_record(response_to(request, failure(Reason.BUSY))))
    cut[17] = 255
    with pytest.raises(WireError):
        rig.feed(rig.service, encode_record(response_to(request, failure(Reason.BUSY))), bytes(cut))
    assert len(rig.out(rig.peer)) == 1


def test_a_request_without_room_for_its_epoch_is_not_sent_again() -> None:
    """With 256 fields there is no place for one more: nobody knows what became of it, and others go on."""
    rig = Rig()
    full = tuple(Field(0x7000, b"") for _ in range(MAX_FIELDS))
    rig.feed(rig.peer, message(1, fields=full), message(2))
    rig.out(rig.service)
    rig.switch.remove_port(rig.service, rig.now)
    outcome = rig.outcome(rig.peer)
    assert (outcome.status, outcome.reason) == (Status.INDETERMINANT, Reason.LINK_LOST)
    assert len(rig.switch.held) == 1
    assert rig.switch.conservation() == []


def test_a_retry_names_the_epoch_of_its_own_link_only() -> None:
    """An EPOCH that a sender put into its request does not stand before ours."""
    rig = Rig()
    rig.feed(rig.peer, message(1, fields=(Field(FieldType.EPOCH, b"a-liar--"),)))
    rig.out(rig.service)
    rig.switch.remove_port(rig.service, rig.now)
    (tag,) = rig.switch.held
    again = rig.port(9, Role.SERVICE)
    rig.serve(HERE, again)
    assert rig.switch.forward(tag, again, rig.now)
    (record,) = rig.out(again)
    assert record.flags & FLAG_RETRY
    assert record.fields == (Field(FieldType.EPOCH | CRITICAL_BIT, b"peer-002"),)


@pytest.mark.parametrize("domain", [b"far\xff.example", b"FAR.example", b"a..b", b"x y"])
def test_a_service_cannot_send_to_what_is_no_domain(domain: bytes) -> None:
    """With an empty local part as with any other; nothing of it reaches a table or a look-up."""
    rig = Rig()
    rig.feed(rig.service, message(1, envelope=Envelope(b"", domain, BOB, HERE)))
    outcome = rig.outcome(rig.service)
    assert outcome.reason is Reason.BAD_ADDRESS
    assert rig.switch.held == []


def test_a_service_that_names_nonsense_as_deciding_hop_is_harmless() -> None:
    """Its answer passes, and the domain asked is named."""
    rig = Rig()
    rig.feed(rig.peer, message(1))
    (request,) = rig.out(rig.service)
    answer = decode_record(encode_record(response_to(request, failure(Reason.BUSY))))
    nonsense = (Field(FieldType.DECIDED_BY, b"\x01\xff\xfe"),)
    rig.feed(rig.service, encode_record(type(answer)(
        answer.type, answer.flags, answer.hops_left, answer.route_tag, answer.message_id, answer.envelope,
        nonsense, answer.body,
    )))  # fmt: skip
    (passed,) = rig.out(rig.peer)
    assert decode_outcome(passed).decided_by == HERE.decode()
