"""What an embedded service is lent."""

from __future__ import annotations

from imxrouter.app.served.embedding import RandomIds
from imxrouter.model.operations import MESSAGE_ID_BYTES


def test_no_message_id_is_given_twice() -> None:
    """Also across the blocks in which they are asked of the system, and by two services."""
    some, others = RandomIds(), RandomIds()
    ids = [some() for _ in range(1_000)] + [others() for _ in range(1_000)]
    assert len(set(ids)) == 2_000
    assert {len(ident) for ident in ids} == {MESSAGE_ID_BYTES}
