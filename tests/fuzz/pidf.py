"""Fuzzes the reader of presence documents.

Invariant: any bytes give a state or `BadPidf` and nothing else. What is read can be written, the schema of
RFC 3863 holds for it, it says the same, and reading it again changes nothing any more.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import replace

from lxml import etree

from tests.fuzz import engine

with engine.instrumented():
    from imxrouter.formats.pidf import BadPidf, read_pidf, write_pidf
    from imxrouter.model.presence import Presence, same_meaning

from tests.formats.presence_strategies import DOCUMENTS, REFUSED, assert_valid


def seeds() -> list[bytes]:
    """Documents to begin from: good and bad ones, those of modest size."""
    documents = [one["xml"].encode() for one in (*DOCUMENTS.values(), *REFUSED.values())]
    return [document for document in documents if len(document) < engine.MAX_BYTES]


def without_extensions(state: Presence) -> Presence:
    """What is left where foreign elements, whose declarations may grow once, are not looked at."""
    return replace(
        state,
        tuples=tuple(
            replace(one, extensions=(), status_extensions=(), activities=()) for one in state.tuples
        ),
        persons=tuple(replace(one, extensions=(), activities=()) for one in state.persons),
        extensions=(),
    )


def check(data: bytes) -> Hashable:
    """One document."""
    try:
        state = read_pidf(data)
    except BadPidf as error:
        return error.fault, str(error)[:40]
    written = write_pidf(state)
    try:
        assert_valid(written)
    except (etree.DocumentInvalid, etree.XMLSyntaxError) as error:
        raise AssertionError(f"{error}: {written!r}") from None
    second = read_pidf(written)
    assert without_extensions(second) == without_extensions(state)
    assert second.status is state.status
    assert read_pidf(write_pidf(second)) == second
    assert same_meaning(second, read_pidf(write_pidf(second)))
    return state.status, len(state.tuples), len(state.persons), len(state.extensions), len(state.notes)


if __name__ == "__main__":
    sys.exit(engine.main("pidf", check, seeds()))
