"""Section 5 of the mapping: presence, both ways."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from imxrouter.formats.pidf import read_pidf, write_pidf
from imxrouter.formats.xmltree import Element, parse
from imxrouter.gateways.xmpp.stanza import tree_of
from imxrouter.gateways.xmpp.translate.jid import parse_jid, to_model
from imxrouter.gateways.xmpp.translate.presence import (
    Resource,
    presence_of,
    read_stamp,
    resource_of,
    resource_of_id,
)
from imxrouter.gateways.xmpp.translate.showing import NOTHING, Asked, Shown, show, written
from imxrouter.model.address import Address
from imxrouter.model.domain import Domain
from imxrouter.model.presence import (
    Activities,
    Basic,
    Contact,
    Extension,
    Note,
    Person,
    Presence,
    PresenceTuple,
    Unknown,
)
from imxrouter.model.vocabulary import Reason
from tests.gateways.embedded import test_instances
from tests.gateways.xmpp.checks import rule, section
from tests.gateways.xmpp.mapping import Row, StanzaSpans, framed, stanza_spans
from tests.gateways.xmpp.streams import test_presence as joined
from tests.gateways.xmpp.subscriptions import test_presentity, test_watcher
from tests.gateways.xmpp.subscriptions.presentity_rig import PresentityRig
from tests.gateways.xmpp.subscriptions.watcher_rig import WatcherRig
from tests.gateways.xmpp.translate import test_presence, test_showing
from tests.gateways.xmpp.translate.presences import ALICE, BOB, NOW, read, said

CONTENT = frozenset({"jabber:server", "jabber:client", "jabber:component:accept"})
Canonical = tuple[object, ...]


def canonical(one: Element) -> Canonical:
    """What an element means: names, attributes, text, children; the content namespaces are one."""
    namespace = "content" if one.namespace in CONTENT else one.namespace
    text = "".join(one.parts) if one.parts else ""
    return (namespace, one.name, frozenset(one.attributes.items()), text, tuple(map(canonical, one.children)))


def element(xml: str) -> Element:
    """A child as it stands in a row."""
    return tree_of(xml.encode())


def fields(row: Row) -> list[tuple[str, str | None]]:
    """As `Row.fields`, where one may stand twice."""
    return [
        (span[3:], None) if span.startswith("no ") else (span.partition("=")[0], span.partition("=")[2])
        for span in row.model_spans
        if span.startswith("no ") or "=" in span
    ]


@section("5")
def presence(row: Row) -> None:
    """A stanza and what it says, by the row's direction."""
    given = stanza_spans(row)
    if "->" in row.direction:
        resource = read_stanza(framed(row, "presence"))
        state = presence_of(resource[1], [resource[0]])
        assert_says(row, resource[0].tuple, state)
        if not fields(row) and row.kept == "no":
            assert resource[0] == said()
        if row.direction == "<->" and row.kept in {"all", "meaning"}:
            assert_shown(given, read_pidf(write_pidf(state)))
    if row.direction in {"<-", "<->"}:
        assert_shown(given, state_of(row))


def read_stanza(text: str) -> tuple[Resource, Address]:
    """What a stanza says, and of whom."""
    one = tree_of(text.encode())
    address, name = to_model(parse_jid(one.attributes["from"]))
    return resource_of(one, name, address, NOW), address


def assert_says(row: Row, one: PresenceTuple, state: Presence) -> None:
    """Each field of the row is so."""
    for name, value in fields(row):
        if name == "tuple" and value == "offline":
            continue  # of the document, once the tuple was told to be closed
        found = _said(name, one, state)
        if value is None:
            assert not found, (row.ident, name, found)
        elif name in {"extension", "status-extension"}:
            wanted = canonical(element(value))
            assert wanted in [canonical(parse(str(each).encode())) for each in found], (row.ident, found)
        else:
            assert value in found, (row.ident, name, found)


def _said(name: str, one: PresenceTuple, state: Presence) -> list[str]:
    priority = one.contact.priority if one.contact is not None else None
    return {
        "tuple": [one.id],
        "basic": [one.basic.value],
        "presentity": [str(state.presentity)],
        "contact": [one.contact.uri if one.contact is not None else ""],
        "status-extension": [each.xml for each in one.status_extensions],
        "extension": [each.xml for each in one.extensions],
        "activity": [each for group in one.activities for each in group.names],
        "note": [text for note in one.notes for text in (note.text, f"{note.language}:{note.text}")],
        "contact-priority": [str(priority)] if priority is not None else [],
        "timestamp": [str(one.timestamp and one.timestamp.isoformat().replace("+00:00", "Z"))],
    }[name]


def state_of(row: Row) -> Presence:
    """The document that a row's fields make."""
    one, owner = PresenceTuple("ID-r1", Basic.OPEN), ALICE
    beside: dict[str, tuple[Note, ...]] = {}
    for name, value in fields(row):
        if value is None:
            continue
        if name == "tuple":
            one = replace_(one, id=value)
        elif name == "basic":
            one = replace_(one, basic=Basic(value))
        elif name == "activity":
            one = replace_(one, activities=(Activities((value,)),))
        elif name in {"extension", "status-extension"}:
            tree = parse(value.encode())
            kept = (Extension(tree.namespace, tree.name, value),)
            one = replace_(one, **{name.replace("-", "_") + "s": kept})
        elif name == "note":
            language, colon, text = value.rpartition(":")
            one = replace_(one, notes=(*one.notes, Note(text if colon else value, language)))
        elif name in {"document-note", "person-note"}:
            beside[name] = (Note(value),)
        elif name == "contact-priority":
            one = replace_(one, contact=Contact("im:alice@a.example", int(value)))
        elif name == "timestamp":
            one = replace_(one, timestamp=read_stamp(value))
        else:
            assert name == "presentity", name
    if row.ident == "prs-tuple-foreign":
        owner = BOB
    persons = (Person("p1", notes=beside["person-note"]),) if "person-note" in beside else ()
    return read_pidf(write_pidf(Presence(owner, (one,), beside.get("document-note", ()), persons)))


def replace_(one: PresenceTuple, **changes: object) -> PresenceTuple:
    """A tuple with some things changed."""
    return replace(one, **changes)  # type: ignore[arg-type]


def assert_shown(given: StanzaSpans, state: Presence) -> None:
    """One of the stanzas of a state is what the row has."""
    closed = state.tuples[0].status is not Basic.OPEN
    name = resource_of_id(state.tuples[0].id)
    offline = "/" not in (given.attributes.get("from") or "/")
    before = Shown({name: b"shown"}) if closed and not offline else NOTHING
    _, stanzas = show(before, state, BOB, None if closed and not offline else Asked(NOW))
    shown = tree_of(written(stanzas[0]))
    wanted = {"type": None, "from": str(state.presentity) + (f"/{name}" if name and not offline else "")}
    for attribute, value in {**wanted, **given.attributes}.items():
        key = "http://www.w3.org/XML/1998/namespace lang" if attribute == "xml:lang" else attribute
        assert shown.attributes.get(key) == value, attribute
    children = [canonical(one) for one in shown.children]
    for child in given.children:
        assert canonical(element(child)) in children, (child, children)
    assert not {one.name for one in shown.children} & given.without


# -- rules -------------------------------------------------------------------------------------------------

rule("prs-tuple-collide")(test_presence.test_tuples_that_give_one_resource_are_told_apart)
rule("prs-ext-more")(test_presence.test_the_largest_extensions_are_left_out)
rule("prs-split")(test_presence.test_the_watcher_is_left_with_the_last_state)
rule("prs-max")(test_presence.test_a_crowd_of_talkative_resources_still_makes_a_small_document)
rule("prs-timestamp-none")(test_presence.test_age_is_said_to_who_asks_and_is_no_news)
rule("prs-unknown-once")(test_presence.test_unknown_is_said_once_and_by_whom)


@rule("prs-ext-reserved", "prs-pidf-ext")
def _reserved() -> None:
    for namespace in test_presence.ACTING:
        test_presence.test_what_acts_passes_in_neither_direction(namespace)
    test_presence.test_names_that_begin_alike_are_not_reserved()


@rule("prs-status-twice")
def _status_twice() -> None:
    notes = (Note("a", "en"), Note("b", "en"), Note("c"))
    state = Presence(ALICE, (PresenceTuple("ID-r1", Basic.OPEN, notes=notes),))
    [stanza] = show(NOTHING, state, BOB)[1]
    assert [one.text for one in read(stanza).children] == ["a", "c"]


@rule("prs-resources")
def _resources() -> None:
    rig = PresentityRig()
    assert rig.approve("r1", "r2") == ["active: r1 r2"]
    rig.says("", "r2", "<show>dnd</show>")
    assert rig.wait(2) == ["active: r1 r2"]
    before, after = (one.presence for one in rig.told)
    assert isinstance(before, Presence)
    assert isinstance(after, Presence)
    assert {one.id for one in set(after.tuples) - set(before.tuples)} == {"ID-r2"}


@rule("prs-instances")
def _instances() -> None:
    test_instances.test_what_each_instance_says_stays_with_it()
    test_showing.test_each_instance_is_a_resource_of_its_own()


@rule("prs-vanish", "prs-no-tuples")
def _vanish() -> None:
    shown, _ = show(NOTHING, presence_of(ALICE, [said("", "", "r1"), said("", "", "r2")]), BOB)
    shown, [gone] = show(shown, presence_of(ALICE, [said("", "", "r2")]), BOB)
    assert (gone.resource, gone.type) == ("r1", "unavailable")
    shown, [last] = show(shown, Presence(ALICE, (), (Note("nowhere"),)), BOB)
    assert (last.resource, last.type, last.children) == ("r2", "unavailable", ())
    _, [bare] = show(NOTHING, Presence(ALICE, (), (Note("nowhere"),)), BOB, Asked(NOW))
    assert (bare.resource, bare.type, bare.children) == ("", "unavailable", ())


@rule("prs-closed")
def _closed() -> None:
    state = presence_of(ALICE, [said("", "type='unavailable'")])
    assert show(NOTHING, state, BOB)[1] == ()
    [bare] = show(NOTHING, state, BOB, Asked(NOW, "p1"))[1]
    assert (bare.resource, bare.type, bare.id) == ("", "unavailable", "p1")


@rule("prs-no-basic")
def _no_basic() -> None:
    mark = Extension("urn:example:x", "x", "<x xmlns='urn:example:x'/>", must_understand=True)
    for one in (PresenceTuple("ID-r1"), PresenceTuple("ID-r1", Basic.OPEN, extensions=(mark,))):
        assert show(NOTHING, Presence(ALICE, (one,)), BOB)[1] == ()
        [gone] = show(Shown({"r1": b""}), Presence(ALICE, (one,)), BOB)[1]
        assert gone.type == "unavailable"


@rule("prs-none-made")
def _none_made() -> None:
    assert presence_of(ALICE, []).tuples == (PresenceTuple("offline", Basic.CLOSED),)


@rule("prs-unknown", "prs-unknown-own", "prs-unknown-over")
def _unknown() -> None:
    words = {Reason.UNREACHABLE: "remote-server-timeout", Reason.OWN_NETWORK: "internal-server-error"}
    for reason, word in words.items():
        shown, _ = show(NOTHING, presence_of(ALICE, [said()]), BOB)
        shown, stanzas = show(shown, Unknown(ALICE, reason, Domain.parse("a.example")), BOB)
        assert [(one.resource, one.type) for one in stanzas] == [("r1", "error"), ("", "error")]
        [error] = read(stanzas[0]).children
        assert (error.attributes["type"], error.attributes["by"]) == ("wait", "a.example")
        assert error.children[0].name == word
        assert [one.type for one in show(shown, presence_of(ALICE, [said()]), BOB)[1]] == [""]


@rule("prs-unavailable-ack")
def _acknowledged() -> None:
    rig = PresentityRig()
    rig.asks()
    assert rig.says("unavailable") + rig.wait(5) == []
    assert rig.answer_words == "pending 1800"
    assert not any(word.startswith("odd") for word in rig.presentities.counts)


@rule("prs-unknown-never")
def _lost() -> None:
    test_presentity.test_a_lost_service_makes_it_unknown_until_it_answers(PresentityRig())


@rule("prs-error-in")
def _error_in() -> None:
    rig = PresentityRig()
    rig.approve("r1")
    for resource in ("", "r1"):
        assert rig.says("error", resource, "<error type='cancel'><gone/></error>") + rig.wait(3) == []
    assert sum(n for word, n in rig.presentities.counts.items() if word.startswith("odd")) == 2


@rule("prs-probe")
def _probe() -> None:
    test_watcher.test_a_probe_is_answered_from_what_is_shown(WatcherRig())


@rule("prs-to-resource")
def _to_resource() -> None:
    to, resource = to_model(parse_jid("alice@a.example/r1"))
    assert (to, resource) == (ALICE, "r1")
    rig = WatcherRig()
    rig.took(rig.watchers.stanza(BOB, to, "subscribe", rig.now))
    assert rig.asked().presentity == ALICE


@rule("prs-leak")
def _leak() -> None:
    test_presentity.test_what_is_said_to_one_watcher_is_told_to_no_other(PresentityRig())


# -- timers ------------------------------------------------------------------------------------------------


@rule("tim-duration")
def _duration() -> None:
    rig = WatcherRig()
    rig.stanza("subscribe")
    assert rig.asked().duration_s == 1800


@rule("tim-grant")
def _grant() -> None:
    rig = PresentityRig()
    rig.asks(100_000)
    assert rig.answer_words == "pending 1800"


@rule("tim-renew")
def _renew() -> None:
    for chance, at in ((0.0, 900), (0.999, 1620)):
        rig = WatcherRig(chance=lambda chance=chance: chance)  # type: ignore[misc]
        rig.stanza("subscribe")
        rig.answer()
        while len(rig.operations) == 1:
            rig.wait(5)
        assert abs(rig.now - at) < 10


@rule("tim-probe-answers")
def _probe_answers() -> None:
    rig = PresentityRig()
    rig.approve("r1")
    rig.presentities.lost(ALICE.domain, rig.now)
    rig.took(rig.presentities.back(ALICE.domain, rig.now))
    while "probe" not in rig.wait(0.25):
        assert rig.now < 30
    asked = rig.now
    rig.wait(1)
    rig.says("", "r1")
    while not (told := rig.wait(0.25)):
        assert rig.now < asked + 6
    assert told == ["active: r1"]
    assert timedelta(seconds=3) <= timedelta(seconds=rig.now - asked) <= timedelta(seconds=4)


@rule("tim-back")
def _back() -> None:
    joined.test_users_whose_server_was_lost_are_told_what_came_meanwhile()


@rule("tim-coalesce")
def _coalesce() -> None:
    rig = PresentityRig()
    rig.approve("r1")
    rig.wait(10)
    begun = rig.now
    rig.says("", "r1", "<show>away</show>")
    rig.says("", "r1", "<show>dnd</show>")
    while not (told := rig.wait(0.25)):
        assert rig.now < begun + 2
    assert told == ["active: r1"]
    assert 0.5 <= rig.now - begun <= 1.0
