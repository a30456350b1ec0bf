"""The comparison of stanzas sees what counts, and only that."""

import pytest

from tests.interop.edge.equal import difference

SENT = (
    '<message xmlns="jabber:client" to="b@b.example" id="1" type="chat"><body>hi</body>'
    '<x:y xmlns:x="urn:x" x:at="1" plain="2"> t <z/> u </x:y></message>'
)


#: The same, as another server would write it.
REWRITTEN = (
    '<message xmlns="jabber:server" type="chat" from="a@a.example/r" to="b@b.example/s" id="1">'
    '<body>hi</body><y xmlns="urn:x" xmlns:n="urn:x" plain="2" n:at="1"> t '
    '<z xmlns="jabber:server"/> u </y></message>'
)


@pytest.mark.parametrize("received", [SENT, REWRITTEN, SENT.replace("<message", '<message xml:lang="en"')])
def test_same_stanza(received: str) -> None:
    """Prefixes, the order of attributes, added language and addresses make no difference."""
    assert difference(SENT, received) is None


@pytest.mark.parametrize(
    ("part", "instead", "where"),
    [
        ('x:at="1"', "", "/message/{urn:x}y: attributes"),
        ('x:at="1"', 'at="1"', "/message/{urn:x}y: attributes"),
        (">hi<", ">ho<", "/message/body: text"),
        (" u ", "", "/message/{urn:x}y: text"),
        ("<z/>", "", "/message/{urn:x}y: children"),
        ("<body>hi</body>", "", "/message: children"),
        ('id="1"', 'id="2"', "/message: attributes"),
        ('xmlns:x="urn:x"', 'xmlns:x="urn:other"', "/message/{urn:x}y became {urn:other}y"),
        ("<z/>", "<q/>", "/message/{urn:x}y/z became q"),
        ('type="chat"', 'type="chat" xml:lang="de"', None),
    ],
)
def test_changed_stanza(part: str, instead: str, where: str | None) -> None:
    """Whatever a reader of XML would see is found, with its place; a language may only be added."""
    changed = SENT.replace(part, instead)
    assert changed != SENT
    found = difference(SENT, changed)
    assert (found is None) if where is None else (found is not None and found.startswith(where)), found


def test_language_that_was_lost() -> None:
    """A language that the sender wrote must arrive."""
    with_language = SENT.replace("<message", '<message xml:lang="de"')
    assert difference(with_language, SENT) is not None
    assert difference(with_language, SENT.replace("<message", '<message xml:lang="en"')) is not None
