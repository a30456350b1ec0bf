"""Block and allow lists: precedence, scopes, aliases; and that tables say what a plain reading says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imxrouter.model.patterns import Pattern, Rank, places_of
from imxrouter.routing import access
from imxrouter.routing.access import AccessLists, Action, BadEntry, Direction, Entry, Home, Level, Scope

HOMES = {
    b"b.example": Home((b"b.example", b"www.b.example"), b"acme"),
    b"www.b.example": Home((b"b.example", b"www.b.example"), b"acme"),
    b"shop.example": Home((b"shop.example",), b"other"),
}


def lists(*entries: Entry) -> AccessLists:
    """Lists of a router that serves b.example (also www.b.example) and shop.example."""
    made = AccessLists(HOMES.get)
    for entry in entries:
        made.add(entry)
    return made


def entry(text: str, ident: str = "") -> Entry:
    """Read `block|allow PATTERN [in|out] [for SCOPE]`."""
    words = text.split()
    scope = Scope.parse(words[words.index("for") + 1]) if "for" in words else Scope()
    direction = next((Direction(word) for word in words[2:] if word in ("in", "out")), Direction.BOTH)
    return Entry(ident or text, Pattern.parse(words[1]), Action(words[0]), direction, scope)


def verdict(made: AccessLists, source: str, destination: str) -> str:
    """Whether it is blocked, and by which entry."""
    ruling = made.judge(source.encode(), destination.encode())
    assert not ruling.blocked or ruling.entry is not None
    return f"{'blocked' if ruling.blocked else 'passes'} {ruling.entry.ident if ruling.entry else ''}".strip()


BOB, EVE = "bob@b.example", "eve@m.example"


@pytest.mark.parametrize(
    ("entries", "source", "destination", "wanted"),
    [
        ([], EVE, BOB, "passes"),
        (["block m.example"], EVE, BOB, "blocked block m.example"),
        (["block m.example"], BOB, EVE, "blocked block m.example"),
        (["block m.example in"], BOB, EVE, "passes"),
        (["block m.example out"], EVE, BOB, "passes"),
        (["block m.example"], "eve@x.m.example", BOB, "passes"),
        (["block *.m.example"], EVE, BOB, "passes"),
        (["block *.m.example"], "eve@y.x.m.example", BOB, "blocked block *.m.example"),
        (["block .m.example"], "eve@x.m.example", BOB, "blocked block .m.example"),
        (["block .m.example"], "eve@xm.example", BOB, "passes"),
        # the closest pattern decides
        (["block m.example", "allow eve@m.example"], EVE, BOB, "passes allow eve@m.example"),
        (["block m.example", "allow ev*@m.example"], EVE, BOB, "passes allow ev*@m.example"),
        (["allow m.example", "block ev*@*"], EVE, BOB, "blocked block ev*@*"),
        (["allow *.example", "block *"], EVE, BOB, "passes allow *.example"),
        (["allow *.example", "block .m.example"], EVE, BOB, "blocked block .m.example"),
        # as close: block before allow
        (["allow m.example", "block m.example in"], EVE, BOB, "blocked block m.example in"),
        (["allow *.example", "block .example"], EVE, BOB, "blocked block .example"),
        (["allow e*@m.example", "block *e@m.example"], EVE, BOB, "blocked block *e@m.example"),
        # scopes: the widest that blocks decides
        (["block m.example for b.example"], EVE, BOB, "blocked block m.example for b.example"),
        (["block m.example for www.b.example"], EVE, BOB, "blocked block m.example for www.b.example"),
        (["block m.example for shop.example"], EVE, BOB, "passes"),
        (["block m.example for tenant:acme"], EVE, BOB, "blocked block m.example for tenant:acme"),
        (["block m.example for tenant:other"], EVE, BOB, "passes"),
        (["block *@m.example for bob@www.b.example"], EVE, BOB,
         "blocked block *@m.example for bob@www.b.example"),
        (["block m.example for ann@b.example"], EVE, BOB, "passes"),
        (["block m.example", "allow m.example for bob@b.example"], EVE, BOB, "blocked block m.example"),
        (["allow eve@m.example", "block * for bob@b.example"], EVE, BOB, "blocked block * for bob@b.example"),
        # among ourselves: by any name
        (["block x@b.example"], "x@www.b.example", "ann@shop.example", "blocked block x@b.example"),
        (["block www.b.example in"], "x@b.example", "ann@shop.example", "blocked block www.b.example in"),
        (["block * out for x@b.example"], "x@www.b.example", EVE, "blocked block * out for x@b.example"),
        # a domain itself
        (["block m.example"], "@m.example", "@b.example", "blocked block m.example"),
        (["block eve@m.example", "block e*@m.example"], "@m.example",
         "@b.example", "passes"),
    ],
)  # fmt: skip
def test_precedence(entries: list[str], source: str, destination: str, wanted: str) -> None:
    """As the page for operators says."""
    assert verdict(lists(*map(entry, entries)), source, destination) == wanted


def test_who_is_shut_out() -> None:
    """A domain of whom nobody may send here; not one of whom somebody may, or that is blocked for some."""
    made = lists(entry("block m.example"), entry("block .n.example in"), entry("allow eve@x.n.example"))
    made.add(entry("block o.example for b.example"))
    made.add(entry("block p.example out"))
    shut = {
        name for name in ("m", "n", "x.n", "y.n", "o", "p", "q") if made.shuts_out(f"{name}.example".encode())
    }
    assert shut == {"m", "n", "y.n"}
    made.remove("allow eve@x.n.example")
    assert made.shuts_out(b"x.n.example")


def test_entries_come_and_go() -> None:
    """By name; one of the same name takes the place of the one before."""
    made = lists(entry("block m.example", "one"), entry("block m.example", "two"))
    made.add(entry("allow m.example", "two"))
    assert verdict(made, EVE, BOB) == "blocked one"
    assert made.remove("one") is not None
    assert verdict(made, EVE, BOB) == "passes two"
    assert made.remove("one") is None
    made.remove("two")
    assert verdict(made, EVE, BOB) == "passes"
    assert len(made) == 0
    made.add(Entry("old", Pattern.parse("*"), Action.BLOCK, expires=10.0))
    assert [one.ident for one in made.expired(9.0)] == []
    assert [one.ident for one in made.expired(10.0)] == ["old"]
    made.remove("old")
    for number in range(1000):
        made.add(Entry("new", Pattern.parse("*"), Action.BLOCK, expires=100.0 + number))
    assert len(made._next) < 200
    assert [one.ident for one in made.expired(1098.0)] == []
    assert [one.ident for one in made.expired(1099.0)] == ["new"]


def test_entries_at_one_place_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is looked at for a new pair; an entry that does not fit changes nothing."""
    monkeypatch.setattr(access, "MAX_AT_PLACE", 2)
    made = lists(entry("block a*@*"), entry("block b*@*"))
    with pytest.raises(BadEntry):
        made.add(entry("block c*@*"))
    assert len(made) == 2
    assert sum(made.counts.values()) == 2
    made.add(entry("block c*@* in for b.example"))
    monkeypatch.setattr(access, "MAX_ENTRIES", 3)
    with pytest.raises(BadEntry):
        made.add(entry("block d.example"))
    made.add(entry("allow d.example", "block a*@*"))
    assert made.counts[Action.ALLOW, True] == 1


@pytest.mark.parametrize("text", ["tenant:", "a b", "x@"])
def test_what_is_no_scope(text: str) -> None:
    """It is told."""
    with pytest.raises(BadEntry):
        Scope.parse(text)


# -- against a plain reading of the rules --------------------------------------------------------------------

_domains = st.sampled_from(
    ["b.example", "www.b.example", "shop.example", "m.example", "x.m.example", "n.test"]
)
_addresses = st.builds("{}@{}".format, st.sampled_from(["a", "ab", "b"]), _domains)
_where = st.one_of(_domains, st.sampled_from(["*.example", ".m.example", "*.m.example", ".test", "*"]))
_patterns = st.one_of(
    _where, _addresses, st.builds("{}@{}".format, st.sampled_from(["a*", "*b", "b", "a*b"]), _where)
)
_scopes = st.sampled_from(["", "tenant:acme", "tenant:other", "b.example", "www.b.example", "ab@b.example"])
_entries = st.lists(
    st.builds(
        lambda number, pattern, action, direction, scope: Entry(
            str(number), Pattern.parse(pattern), action, direction, Scope.parse(scope)
        ),
        st.integers(0, 10**6), _patterns, st.sampled_from(Action), st.sampled_from(Direction), _scopes,
    ),
    max_size=6, unique_by=lambda one: one.ident,
)  # fmt: skip
_RANKS = list(Rank)


def _closeness(pattern: Pattern, key: bytes) -> tuple[int, int] | None:
    """How closely a pattern names a key, less is closer; None where it does not."""
    local, _, domain = key.rpartition(b"@")
    groups = [place for place, names in enumerate(places_of(domain)) if pattern.where in names]
    if not groups:
        return None
    if pattern.rank is Rank.ADDRESS and pattern.key != key:
        return None
    if pattern.rank is Rank.LOCAL:
        return (1, groups[0]) if pattern.matches_local(local) else None
    return _RANKS.index(pattern.rank), groups[0]


def _plain(entries: list[Entry], source: bytes, destination: bytes) -> bool:
    """Whether it is blocked."""
    for level in Level:
        for direction, ours, theirs in (
            (Direction.IN, destination, source),
            (Direction.OUT, source, destination),
        ):
            home = HOMES.get(ours.rpartition(b"@")[2])
            if home is None:
                continue
            local = ours.rpartition(b"@")[0]
            values = {
                Level.ROUTER: {b""}, Level.TENANT: {home.tenant}, Level.DOMAIN: set(home.names),
                Level.USER: {local + b"@" + name for name in home.names},
            }[level]  # fmt: skip
            other = HOMES.get(theirs.rpartition(b"@")[2])
            names = other.names if other else (theirs.rpartition(b"@")[2],)
            for value in values:
                for name in names:
                    key = theirs.rpartition(b"@")[0] + b"@" + name
                    found = [
                        (near, not one.blocks)
                        for one in entries
                        if one.scope.level is level and one.scope.value == value
                        and one.direction in (direction, Direction.BOTH)
                        and (near := _closeness(one.pattern, key)) is not None
                    ]  # fmt: skip
                    if found and not min(found)[1]:
                        return True
    return False


@settings(max_examples=300)
@given(_entries, _addresses, _addresses)
def test_tables_say_what_the_rules_say(entries: list[Entry], source: str, destination: str) -> None:
    """Whatever the entries, and in whatever order they came and went."""
    made = lists(*entries)
    wanted = _plain(entries, source.encode(), destination.encode())
    assert made.judge(source.encode(), destination.encode()).blocked is wanted
    for one in entries[::2]:
        made.remove(one.ident)
    wanted = _plain(entries[1::2], source.encode(), destination.encode())
    assert made.judge(source.encode(), destination.encode()).blocked is wanted
