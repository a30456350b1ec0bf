"""Presence documents by strangers who mean harm: refused by name, bounded, and never made worse."""

from __future__ import annotations

import contextlib
import gc
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imxrouter.formats.pidf import (
    MAX_EXTENSIONS,
    MAX_NOTES,
    PIDF,
    BadPidf,
    read_pidf,
    write_pidf,
)
from imxrouter.model.presence import MAX_TUPLES
from tests.formats.presence_strategies import ALICE, CALM, DOCUMENTS, REFUSED, assert_valid, presence


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_document_is_refused_by_name(name: str) -> None:
    """Each with the word of its vector."""
    with pytest.raises(BadPidf) as caught:
        read_pidf(REFUSED[name]["xml"].encode(), ALICE)
    assert caught.value.fault == REFUSED[name]["fault"]


@pytest.mark.parametrize(
    ("part", "most", "fault"),
    [
        ('<tuple id="t{}"><status/></tuple>', MAX_TUPLES, "tuples"),
        ("<note>{}</note>", MAX_NOTES, "notes"),
        ("<x xmlns='urn:x'>{}</x>", MAX_EXTENSIONS, "extensions"),
    ],
)
def test_numbers_of_parts_are_bounded(part: str, most: int, fault: str) -> None:
    """At the limit taken, also when written by us; one above refused by name."""
    parts = [part.format(at) for at in range(most + 1)]
    state = read_pidf(presence("".join(parts[:most])))
    assert read_pidf(write_pidf(state)) == state
    with pytest.raises(BadPidf) as caught:
        read_pidf(presence("".join(parts)))
    assert caught.value.fault == fault


def test_long_namespaces_do_not_multiply() -> None:
    """Each kept element takes its declarations along: 300 of them would make 9 MB of 60 KB."""
    document = presence("<f:x/>" * MAX_EXTENSIONS, f"xmlns:f='urn:{'x' * 30_000}'")
    with pytest.raises(BadPidf) as caught:
        read_pidf(document)
    assert caught.value.fault == "extensions"


@given(st.binary(max_size=200))
@settings(CALM)
def test_any_bytes_give_a_state_or_bad_pidf(raw: bytes) -> None:
    """No other exception, wherever the bytes stand."""
    for document in (raw, presence("") + raw, presence("<note>").replace(b"</presence>", raw)):
        try:
            read_pidf(document)
        except BadPidf:
            continue


LEAVES = st.sampled_from(
    [
        "<status/>", "<status><basic>open</basic></status>", "<basic>closed</basic>", "<basic/>",
        "<contact/>", "<contact>x:y</contact>", "<contact priority='2'>x:y</contact>",
        "<note xml:lang='x'>a</note>", "<note/>", "<timestamp/>",
        "<timestamp>2026-01-01T00:00:00Z</timestamp>",
        "<dm:note>b</dm:note>", "<dm:device id='d'/>", "<dm:timestamp>2026-01-01T00:00:00</dm:timestamp>",
        "<rpid:away/>", "<rpid:unheard/>", "<rpid:other/>", "<rpid:note>c</rpid:note>",
        f"<p:q xmlns:p='{PIDF}' p:mustUnderstand='1'/>", "<q xmlns=''/>", "<presence/>",
        f"<f:x xmlns:f='urn:f' xmlns:p='{PIDF}' p:mustUnderstand='1'/>",
        "text", "&lt;", "<![CDATA[>]]>", "&#0;",
    ]
)  # fmt: skip
BRANCHES = (
    "tuple",
    "tuple id='a'",
    "status",
    "dm:person",
    "rpid:activities from='2026-01-01T00:00:00Z'",
    "dm:x",
)
TREES = st.recursive(
    LEAVES,
    lambda inside: st.tuples(st.sampled_from(BRANCHES), st.lists(inside, max_size=4)).map(
        lambda made: f"<{made[0]}>{''.join(made[1])}</{made[0].partition(' ')[0]}>"
    ),
    max_leaves=12,
)


@given(st.lists(TREES, max_size=3).map("".join))
@settings(CALM, max_examples=300)
def test_any_tree_gives_a_valid_document_or_bad_pidf(inside: str) -> None:
    """What is read from a stranger can be written for a watcher, and stays what it is."""
    try:
        state = read_pidf(presence(inside))
    except BadPidf:
        return
    written = write_pidf(state)
    assert_valid(written)
    assert read_pidf(written) == state


@pytest.mark.parametrize(
    "inside",
    [
        "<note/>" * (MAX_NOTES + 1),
        "<dm:x/>" * 5000,
        "<dm:x>" * 20 + "</dm:x>" * 20 + "<dm:y>" + "<dm:x/>t" * 4000 + "</dm:y>",
        "<note>" + "&#65;" * 12_000 + "</note>",
        "".join(f"<dm:x xmlns:a{at}='urn:{at}'>" for at in range(20)) + "</dm:x>" * 20,
        "".join(f"<f:x xmlns:f='urn:{at}'/>" for at in range(2000)),
        "<contact>http://" + "a:" * 15_000 + "</contact>",
        "<tuple><contact>http://" + "a:" * 15_000 + "^</contact></tuple>",
        "<tuple><timestamp>" + "2" * 60_000 + "</timestamp></tuple>",
        "<dm:x " + " ".join(f"a{at}=''" for at in range(6000)) + "/>",
    ],
    ids=range(10),
)
def test_no_document_takes_long(inside: str) -> None:
    """The largest ones, made of what costs most: far under a second even on a busy machine."""
    document = presence(inside)
    begun = time.process_time()
    with contextlib.suppress(BadPidf):
        write_pidf(read_pidf(document))
    assert time.process_time() - begun < 1


def test_nothing_waits_for_the_garbage_collector() -> None:
    """A parser's memory is given back at once, whether its document was good or bad."""
    documents = [one["xml"].encode() for one in (*DOCUMENTS.values(), *REFUSED.values())]
    gc.collect()
    gc.disable()
    try:
        for document in documents:
            with contextlib.suppress(BadPidf):
                read_pidf(document)
        assert gc.collect() == 0
    finally:
        gc.enable()
