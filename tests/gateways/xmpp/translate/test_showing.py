"""What is shown of documents of presence by others, whatever stands in them."""

from __future__ import annotations

from itertools import permutations

import pytest

from imxrouter.formats.pidf import read_pidf, write_pidf
from imxrouter.formats.xmltree import parse
from imxrouter.gateways.embedded.instances import Instances, Publication
from imxrouter.gateways.xmpp.translate.presence import presence_of, resource_of
from imxrouter.gateways.xmpp.translate.showing import NOTHING, open_resources, show, written
from imxrouter.model.presence import Activities, Basic, Contact, Note, Person, Presence, PresenceTuple
from tests.gateways.xmpp.translate.presences import ALICE, BOB, NOW, read

PIDF = "urn:ietf:params:xml:ns:pidf"
HEAD = (
    f"<presence xmlns='{PIDF}' xmlns:p='{PIDF}' xmlns:im='{PIDF}:im' xmlns:c='jabber:client'"
    " xmlns:o='urn:other' entity='pres:alice@a.example'>"
)


def document(status: str = "", beside: str = "", whole: str = "") -> Presence:
    """One with an open tuple."""
    text = (
        f"{HEAD}<tuple id='t1'><status><basic>open</basic>{status}</status>{beside}</tuple>{whole}</presence>"
    )
    return read_pidf(text.encode())


def shown(state: Presence) -> dict[str, str]:
    """The children of the one presence that is shown."""
    _, (one,) = show(NOTHING, state, BOB)
    tree = parse(written(one).replace(b"<presence ", b"<presence xmlns='jabber:server' ", 1))
    return {child.name: child.text for child in tree.children if child.namespace == "jabber:server"}


def test_what_must_be_understood_and_is_not_is_not_available() -> None:
    """Of a tuple that tuple, of the document all (row prs-no-basic)."""
    assert list(open_resources(document())) == ["t1"]
    assert open_resources(document(whole="<o:x p:mustUnderstand='1'/>")) == {}
    assert open_resources(document(beside="<o:x p:mustUnderstand='1'/>")) == {}
    assert list(open_resources(document(whole="<o:x/>"))) == ["t1"]


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        ("-5", "-5"), ("-128", "-128"), ("-999", "-128"), (" -1 ", "-1"),
        # what takes messages is said by the contact, and what is no number by nobody
        ("5", "64"), ("--5", "64"), ("-", "64"), ("-\u0663", "64"), ("-\u00b2", "64"), ("-12345", "64"),
        ("", "64"), ("-1e1", "64"),
    ],
)  # fmt: skip
def test_priorities(text: str, priority: str) -> None:
    """Below 0 only where a program of XMPP said so (row prs-priority-negative)."""
    contact = "<contact priority='0.5'>im:alice@a.example</contact>"
    assert shown(document(beside=f"<c:priority>{text}</c:priority>{contact}"))["priority"] == priority
    assert shown(document(beside=f"<o:priority>{text}</o:priority>{contact}"))["priority"] == "64"


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("<c:show>dnd</c:show>", "dnd"),
        ("<c:show>shopping</c:show>", None),
        ("<o:show>dnd</o:show>", None),
        ("<c:odd>dnd</c:odd>", None),
        ("<im:im>busy</im:im>", "dnd"),
        ("<im:im>dancing</im:im>", None),
        ("<o:im>busy</o:im>", None),
        # its own word is nearer than that of others
        ("<im:im>busy</im:im><c:show>xa</c:show>", "xa"),
        ("<c:show>shopping</c:show><im:im>busy</im:im>", "dnd"),
    ],
)
def test_what_somebody_is_doing(status: str, word: str | None) -> None:
    """Of words that XMPP has."""
    assert shown(document(status)).get("show") == word


def an_instance(activity: str, priority: int, *notes: Note) -> Publication:
    """Open; what its user does is said of the person, as RFC 4480 section 3.2 has it, words of the whole."""
    one = PresenceTuple("t", Basic.OPEN, Contact("im:alice@a.example", priority))
    persons = (Person("p", (Activities((activity,)),)),)
    return Publication(Presence(ALICE, (one,), notes, persons), 100.0, ALICE)


def test_each_instance_is_a_resource_of_its_own() -> None:
    """Show, words in each language and priority are its own, in the document and back (row prs-instances)."""
    mine = Instances()
    mine.publish("desk", an_instance("meeting", 500, Note("with you soon", "en"), Note("hned", "cs")))
    mine.publish("phone", an_instance("away", 102, Note("out", "en")))
    state = read_pidf(write_pidf(mine.whole(ALICE)))
    shown, stanzas = show(NOTHING, state, BOB)
    trees = {one.resource: read(one) for one in stanzas}
    assert {
        name: [(child.name, child.language, child.text) for child in tree.children]
        for name, tree in trees.items()
    } == {
        "t.desk": [
            ("show", "en", "dnd"), ("status", "en", "with you soon"), ("status", "cs", "hned"),
            ("priority", "en", "64"),
        ],
        "t.phone": [("show", "en", "away"), ("status", "en", "out"), ("priority", "en", "13")],
    }  # fmt: skip
    back = presence_of(ALICE, [resource_of(tree, name, ALICE, NOW) for name, tree in trees.items()])
    again = show(NOTHING, read_pidf(write_pidf(back)), BOB)[1]
    assert {written(one) for one in again} == {written(one) for one in stanzas}
    mine.publish("phone", an_instance("busy", 102, Note("out", "en")))
    [changed] = show(shown, mine.whole(ALICE), BOB)[1]
    assert (changed.resource, read(changed).children[0].text) == ("t.phone", "dnd")


def test_of_persons_that_disagree_the_newest_is_believed() -> None:
    """What stands in the document first says nothing, and no time is older than any.

    Rows prs-act-away and prs-note-person.
    """
    doing = "<r:activities><r:{}/></r:activities>"
    stamp = "<dm:note>{0}</dm:note><dm:timestamp>2026-01-0{0}T00:00:00Z</dm:timestamp>"
    persons = [("sleeping", "<dm:note>0</dm:note>"), ("busy", stamp.format(1)), ("away", stamp.format(2))]
    for order in permutations(persons):
        whole = "".join(
            f"<dm:person id='p{at}'>{doing.format(word)}{when}</dm:person>"
            for at, (word, when) in enumerate(order)
        )
        names = f"xmlns:dm='{PIDF}:data-model' xmlns:r='{PIDF}:rpid'"
        text = HEAD.replace("<presence ", f"<presence {names} ", 1)
        tuples = "<tuple id='t1'><status><basic>open</basic></status></tuple>"
        told = shown(read_pidf(f"{text}{tuples}{whole}</presence>".encode()))
        assert (told["show"], told["status"]) == ("away", "2")
