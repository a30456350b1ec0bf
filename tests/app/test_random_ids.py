"""Ids of messages that gateways of this process send."""

from __future__ import annotations

from imxrouter.app.random_ids import RandomIds
from imxrouter.model.operations import MESSAGE_ID_BYTES


def test_no_message_id_is_given_twice() -> None:
    """Also across the blocks in which they are asked of the system, and by two services."""
    some, others = RandomIds(), RandomIds()
    ids = [some() for _ in range(1_000)] + [others() for _ in range(1_000)]
    assert len(set(ids)) == 2_000
    assert {len(ident) for ident in ids} == {MESSAGE_ID_BYTES}


def test_what_is_no_message_id_has_its_own_size() -> None:
    """And is another one each time."""
    give = RandomIds()
    some = {give(12) for _ in range(100)}
    assert len(some) == 100
    assert {len(one) for one in some} == {12}
