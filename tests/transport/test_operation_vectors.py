"""The vectors of subscriptions, notifications and attributes: what others are told holds here."""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.model.operations import (
    Attribute,
    AttributeQuery,
    AttributeValues,
    Foreign,
    Notify,
    Subscribe,
    SubscribeResult,
)
from imxrouter.model.presence import Presence, Unknown
from imxrouter.transport.operations import record_to_operation, result_of
from imxrouter.transport.translate import TranslationError
from imxrouter.wire.record import Record, decode_outcome, decode_record
from tests.vectors.load import load, record_bytes

VECTORS = load("operations")


def shown(attributes: tuple[Attribute, ...]) -> list[dict[str, object]]:
    """Attributes as a vector has them."""
    return [
        {"name": one.name, "value": one.value.hex(), "keep_s": one.max_age_s} for one in attributes
    ]  # fmt: skip


def told(notify: Notify) -> dict[str, object]:
    """A notification as a vector has it."""
    version, presence = notify.version, notify.presence
    basic, unknown = "", None
    if isinstance(presence, Presence):
        basic = presence.status.value
    if isinstance(presence, Unknown):
        unknown = {"reason": presence.reason.word, "domain": str(presence.domain)}
    return {
        "presentity": str(notify.presentity), "watcher": str(notify.watcher),
        "subscription_id": notify.subscription_id.hex(), "state": notify.state,
        "end_reason": notify.end_reason.code,
        "version": version and [version.epoch, version.number], "duration_s": notify.expires_s,
        "attributes": shown(notify.attributes), "basic": basic, "unknown": unknown,
    }  # fmt: skip


def meaning(record: Record) -> dict[str, object]:
    """What a record says, as a vector has it."""
    if record.is_response:
        result = result_of(record, decode_outcome(record)).result
        if isinstance(result, SubscribeResult):
            return {"state": result.state, "duration_s": result.duration_s}
        assert isinstance(result, AttributeValues)
        return {"values": shown(result.attributes)}
    operation = record_to_operation(record)
    if isinstance(operation, Foreign):
        return {"protocol": operation.protocol, "content": operation.content.hex()}
    if isinstance(operation, Subscribe):
        form = {"original_form": operation.original_form.hex()} if operation.original_form else {}
        return {"subscription_id": operation.subscription_id.hex(), "duration_s": operation.duration_s} | form
    if isinstance(operation, AttributeQuery):
        return {"names": list(operation.names)}
    assert isinstance(operation, Notify)
    return told(operation)


@pytest.mark.parametrize("vector", VECTORS["meanings"], ids=lambda one: one["record"])
def test_a_record_means_what_the_vector_says(vector: Any) -> None:
    """Of each operation and its answer."""
    assert meaning(decode_record(record_bytes()[vector["record"]])) == vector["means"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda one: one["name"])
def test_what_is_none_is_refused_by_name(vector: Any) -> None:
    """With the reason that the sender is told."""
    with pytest.raises(TranslationError) as refused:
        meaning(decode_record(bytes.fromhex(vector["hex"])))
    assert refused.value.reason.word == vector["reason"]
