"""Cards of XMPP (XEP-0054) and vCard 4 (XEP-0292 section 11): each property both ways."""

from __future__ import annotations

import pytest
from hypothesis import given

from imxrouter.formats.xcard import Card, Property, made, read_xcard, write_xcard
from imxrouter.formats.xmltree import parse
from imxrouter.gateways.xmpp.translate.vcards import card_of_temp, temp_of_card
from tests.formats.presence_strategies import CALM
from tests.formats.test_xcard import CARDS

TEMP = "<vCard xmlns='vcard-temp'>{}</vCard>"
PAIR = "<FN>b</FN><NICKNAME>b</NICKNAME>"


def card_of(inside: str) -> Card:
    """The vCard 4 of a card of XMPP."""
    return card_of_temp(parse(TEMP.format(inside).encode()))


def temp_of(*properties: Property | None) -> str:
    """What is inside of the card of XMPP."""
    text = temp_of_card(tuple(one for one in properties if one is not None))
    return text.partition(">")[2].removesuffix("</vCard>") if not text.endswith("/>") else ""


ADDRESS = (
    "<ADR><HOME/><POBOX>1</POBOX><EXTADD>2</EXTADD><STREET>3</STREET><LOCALITY>4</LOCALITY>"
    "<REGION>5</REGION><PCODE>6</PCODE><CTRY>7</CTRY></ADR>"
)
BOTH = [
    ("<TITLE>t</TITLE>", "title", [("text", "t")], ()),
    ("<ROLE>t</ROLE>", "role", [("text", "t")], ()),
    ("<TZ>+02:00</TZ>", "tz", [("text", "+02:00")], ()),
    ("<PRODID>p</PRODID>", "prodid", [("text", "p")], ()),
    ("<UID>u</UID>", "uid", [("text", "u")], ()),
    ("<URL>https://b.example/?a=1&amp;b</URL>", "url", [("uri", "https://b.example/?a=1&b")], ()),
    ("<DESC>me &amp; &lt;you&gt;</DESC>", "note", [("text", "me & <you>")], ()),
    ("<BDAY>1980-02-29</BDAY>", "bday", [("date", "19800229")], ()),
    ("<BDAY>in spring</BDAY>", "bday", [("text", "in spring")], ()),
    ("<JABBERID>b@b.example</JABBERID>", "impp", [("uri", "xmpp:b@b.example")], ()),
    ("<JABBERID>π@münchen.example/r 1</JABBERID>", "impp",
     [("uri", "xmpp:%CF%80@m%C3%BCnchen.example/r%201")], ()),
    ("<REV>1995-10-31T22:27:10Z</REV>", "rev", [("timestamp", "19951031T222710Z")], ()),
    ("<REV>1995-10-31T22:27:10-05:00</REV>", "rev", [("timestamp", "19951031T222710-0500")], ()),
    ("<TEL><HOME/><VOICE/><NUMBER>+123</NUMBER></TEL>", "tel", [("uri", "tel:+123")], ("home", "voice")),
    ("<TEL><NUMBER>ask Eve</NUMBER></TEL>", "tel", [("text", "ask Eve")], ()),
    ("<EMAIL><PREF/><WORK/><USERID>b@b.example</USERID></EMAIL>", "email", [("text", "b@b.example")],
     ("pref", "work")),
    ("<ORG><ORGNAME>O</ORGNAME><ORGUNIT>U</ORGUNIT><ORGUNIT>V</ORGUNIT></ORG>", "org",
     [("text", "O"), ("text", "U"), ("text", "V")], ()),
    ("<CATEGORIES><KEYWORD>k</KEYWORD><KEYWORD>l</KEYWORD></CATEGORIES>", "categories",
     [("text", "k"), ("text", "l")], ()),
    ("<GEO><LAT>1.5</LAT><LON>-2</LON></GEO>", "geo", [("uri", "geo:1.5,-2")], ()),
    ("<KEY><CRED>c</CRED></KEY>", "key", [("text", "c")], ()),
    ("<PHOTO><TYPE>image/png</TYPE><BINVAL>aGk=</BINVAL></PHOTO>", "photo",
     [("uri", "data:image/png;base64,aGk=")], ()),
    ("<LOGO><EXTVAL>https://b.example/l</EXTVAL></LOGO>", "logo", [("uri", "https://b.example/l")], ()),
    ("<SOUND><TYPE>audio/ogg</TYPE><BINVAL>aGk=</BINVAL></SOUND>", "sound",
     [("uri", "data:audio/ogg;base64,aGk=")], ()),
    ("<N><FAMILY>F</FAMILY><GIVEN>G</GIVEN><MIDDLE>M</MIDDLE><PREFIX>P</PREFIX><SUFFIX>S</SUFFIX></N>", "n",
     [("surname", "F"), ("given", "G"), ("additional", "M"), ("prefix", "P"), ("suffix", "S")], ()),
    (ADDRESS, "adr",
     [("pobox", "1"), ("ext", "2"), ("street", "3"), ("locality", "4"), ("region", "5"), ("code", "6"),
      ("country", "7")], ("home",)),
]  # fmt: skip


@pytest.mark.parametrize(("temp", "name", "parts", "kinds"), BOTH, ids=[one[0][:12] for one in BOTH])
def test_a_property_both_ways(
    temp: str, name: str, parts: list[tuple[str, str]], kinds: tuple[str, ...]
) -> None:
    """By the table of XEP-0292 section 11."""
    one = made(name, parts, frozenset(kinds))
    assert one is not None
    assert card_of(temp) == (one,)
    assert temp_of(one) == temp


@pytest.mark.parametrize(
    ("temp", "card"),
    [
        ("<NOTE>n</NOTE>", (made("note", [("text", "n")]),)),
        ("<EMAIL>b@b.example</EMAIL>", (made("email", [("text", "b@b.example")]),)),
        ("<TEL>+12</TEL>", (made("tel", [("uri", "tel:+12")]),)),
        ("<PHOTO><BINVAL>aG k=\n</BINVAL></PHOTO>",
         (made("photo", [("uri", "data:application/octet-stream;base64,aGk=")]),)),
        ("<PHOTO><TYPE>x;y,z</TYPE><BINVAL>aGk=</BINVAL></PHOTO>",
         (made("photo", [("uri", "data:application/octet-stream;base64,aGk=")]),)),
        # what is no value, and what vCard 4 has not
        ("<PHOTO><TYPE>image/png</TYPE><BINVAL>&lt;svg></BINVAL></PHOTO>", ()),
        ("<GEO><LAT>north</LAT><LON>1</LON></GEO>", ()),
        ("<GEO><LAT>1</LAT></GEO>", ()),
        ("<TEL><FAX/></TEL>", ()), ("<JABBERID/>", ()), ("<FN> </FN>", ()),
        ("<JABBERID>b b@b.example</JABBERID>", ()), ("<REV>1995-10-31</REV>", ()), ("<REV>now</REV>", ()),
        ("<REV>1995-10-31T22:27:10.5+02</REV>", (made("rev", [("timestamp", "19951031T222710+02")]),)),
        ("<CLASS><PUBLIC/></CLASS><MAILER>m</MAILER><LABEL><LINE>l</LINE></LABEL><AGENT/>", ()),
        ("<FN xmlns='urn:x'>no</FN>", ()),
        ("<TEL><ODD/><NUMBER>1</NUMBER></TEL>", (made("tel", [("uri", "tel:1")]),)),
    ],
)  # fmt: skip
def test_what_cards_hold_besides(temp: str, card: Card) -> None:
    """Of older programs, and of nobody's."""
    assert card_of(temp) == card


@pytest.mark.parametrize(
    ("uri", "jid"),
    [
        ("XMPP:b@b.example?message;body=x", "b@b.example"), ("xmpp:b@b.example#f", "b@b.example"),
        ("xmpp://me@a.example/b@b.example/r", "b@b.example/r"), ("xmpp:b.example", "b.example"),
        # no JID
        ("sip:b@b.example", ""), ("im:b@b.example", ""), ("xmpp:", ""), ("xmpp://b.example", ""),
        ("xmpp:b%20b@b.example", ""), ("xmpp:%ff@b.example", ""), ("b@b.example", ""),
    ],
)  # fmt: skip
def test_addresses_of_other_services_are_no_jids(uri: str, jid: str) -> None:
    """An IMPP of a vCard 4 may be of any of them (RFC 4770; RFC 5122 section 2)."""
    assert temp_of(made("impp", [("uri", uri)])) == (f"<JABBERID>{jid}</JABBERID>" if jid else "")


def test_what_has_one_place_takes_all_of_it() -> None:
    """A vCard 4 may have several names of a kind, and lines of an address (RFC 6350 section 6.2.2)."""
    name = [("surname", "F"), ("additional", "M"), ("additional", "N")]
    assert temp_of(made("n", name)) == "<N><FAMILY>F</FAMILY><MIDDLE>M N</MIDDLE></N>"
    lines = [("street", "1 High St"), ("street", "Flat 2")]
    assert temp_of(made("adr", lines)) == "<ADR><STREET>1 High St, Flat 2</STREET></ADR>"


def test_names_are_said_both_ways() -> None:
    """Programs show one of them (row att-fn)."""
    for name in ("fn", "nickname"):
        assert sorted(temp_of(made(name, [("text", "b")])).split(">")) == sorted(PAIR.split(">"))
    assert temp_of(made("fn", [("text", "a")]), made("nickname", [("text", "b")])).count("<NICKNAME>") == 1
    assert temp_of() == ""


def test_properties_are_bounded() -> None:
    """Of a card by somebody else."""
    assert len(card_of("<NOTE>n</NOTE>" * 200)) == 64


@CALM
@given(CARDS)
def test_any_card_is_said_and_read_again(card: Card) -> None:
    """As XML; what was said once is said the same again, and fits into vCard 4."""
    temp = temp_of_card(card)
    again = card_of_temp(parse(temp.encode()))
    assert read_xcard(write_xcard(again)) == again
    assert card_of_temp(parse(temp_of_card(again).encode())) == again
