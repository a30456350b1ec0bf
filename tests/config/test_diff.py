"""What differs between two configurations, and when each key is obeyed."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import fields

from imxrouter.config.applies import APPLIES, IDENTITY, SECRET, Applies
from imxrouter.config.diff import Changes, diff, effective
from imxrouter.config.load import Document, parse
from imxrouter.config.reference import tables
from imxrouter.config.schema import Config
from imxrouter.config.texts import MASKED
from imxrouter.config.walk import array_type, table_type

SERVICE = '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["a"]\n'
DOMAIN = '[[domain]]\nname = "a.example"\nservice = "home"\n'


def config(head: str = "", tail: str = SERVICE + DOMAIN) -> Config:
    """A configuration; `head` stands before its tables."""
    return parse(Document("test", f'name = "im.a.example"\nrole = "aggregator"\n{head}\n{tail}')).config


def told(changes: Changes) -> list[str]:
    """For people, with when it is obeyed."""
    return [f"{change} ({change.applies.value})" for change in changes]


def keys() -> set[str]:
    """Every key of the schema that has a value, with its table."""
    return {
        f"{path}.{info.encode_name}" if path else info.encode_name
        for path, _, schema in tables()
        for info in fields(schema)
        if table_type(info) is None and array_type(info) is None
    }


def test_every_key_says_when_it_is_obeyed() -> None:
    """A new key without an entry fails here, and so does an entry of a key that went."""
    assert keys() == APPLIES.keys()


def test_every_list_of_tables_has_an_identity() -> None:
    """A key that its entries must have."""
    arrays = {path: schema for path, many, schema in tables() if many}
    assert arrays.keys() == IDENTITY.keys()
    for path, schema in arrays.items():
        required = {info.encode_name for info in fields(schema) if info.required}
        assert IDENTITY[path] in required, path


def test_whatever_sounds_like_a_secret_is_one() -> None:
    """Names of files with keys, public keys and times of tokens are none."""
    harmless = {"dialback.key_file", "uplink.key_file", "service.key", "dialback.token_ttl_s",
                "service.secret_file", "xmpp.component.secret_file"}  # fmt: skip
    sounds = {key for key in keys() if re.search(r"key|secret|token|password", key.rpartition(".")[2])}
    assert sounds - harmless == SECRET


def test_equal_configurations_do_not_differ() -> None:
    """Whatever is the order of keys and of entries, and however types are written."""
    more = DOMAIN.replace("a.example", "b.example")
    types = 'types = ["notify", "message"]\n'
    one = config("links.ping_s = 5\nlinks.idle_s = 60", SERVICE + DOMAIN + types + more)
    other = config(
        "links.idle_s = 60\nlinks.ping_s = 5", more + DOMAIN + 'types = ["0x0100", "0x0102"]\n' + SERVICE
    )
    assert not diff(one, other)


def test_keys_of_tables_are_compared_one_by_one() -> None:
    """With both values as TOML."""
    changes = diff(config("links.ping_s = 5"), config('log.level = "debug"\nworkers = 2\nlinks.ping_s = 6'))
    assert told(changes) == [
        "~ workers: 1 -> 2 (at a restart)",
        "~ links.ping_s: 5.0 -> 6.0 (to new links)",
        '~ log.level: "info" -> "debug" (at once)',
    ]
    assert [change.path for change in changes.restart] == ["workers"]
    assert changes.touch("log.level")
    assert changes.touch("links")
    assert not changes.touch("workers")
    assert not changes.touch("link")


def test_entries_of_lists_are_known_by_their_names() -> None:
    """Domains, services, peers, uplinks, policies and exceptions."""
    peer = '[[peer]]\ndomain = "{}"\naddresses = ["192.0.2.{}:6490"]\n'
    old = config(tail=SERVICE + DOMAIN + DOMAIN.replace("a.ex", "gone.ex") + peer.format("b.example", 1))
    new = config(
        tail=SERVICE.replace('"a"', '"a", "b"')
        + DOMAIN.replace("a.ex", "new.ex")
        + DOMAIN
        + 'state = "suspended"\n'
        + peer.format("b.example", 2)
        + '[[trust.peer]]\ndomain = "*.c.example"\npolicy = "dialback"\n'
    )
    changes = diff(old, new)
    assert told(changes) == [
        "+ [[trust.peer]] *.c.example (at once)",
        '~ [[service]] home: users: ["a"] -> ["a", "b"] (at once)',
        "- [[domain]] gone.example (at once)",
        "+ [[domain]] new.example (at once)",
        '~ [[domain]] a.example: state: "active" -> "suspended" (at once)',
        '~ [[peer]] b.example: addresses: ["192.0.2.1:6490"] -> ["192.0.2.2:6490"] (at once)',
    ]
    assert changes.entries("domain") == {
        "gone.example": "removed", "new.example": "added", "a.example": "changed",
    }  # fmt: skip


@pytest.mark.parametrize("secret", ["11" * 32])
def test_secrets_are_masked(secret: str) -> None:
    """That they changed is told, and nothing of them."""
    old = config()
    first, second = (config(f'dialback.keys = {{ k1 = "{one}" }}') for one in (secret, "22" * 32))
    assert told(diff(old, first)) == [f"~ dialback.keys: {{}} -> {MASKED} (at once)"]
    assert told(diff(first, second)) == [f"~ dialback.keys: {MASKED} -> {MASKED} (at once)"]
    assert secret not in repr(diff(first, second))


def test_what_waits_for_a_restart_stays_as_it_is() -> None:
    """The rest is in force; with a service of another kind its whole entry waits."""
    key = "ab" * 32
    imx = f'[[service]]\nname = "home"\nkind = "imx"\nkey = "{key}"\n'
    old, new = config(), config("workers = 3\nlinks.ping_s = 5", imx + DOMAIN)
    now = effective(old, new)
    assert (now.workers, now.links.ping_s, now.services) == (1, 5.0, old.services)
    assert {change.path for change in diff(now, new)} == {
        "workers", "service.kind", "service.key", "service.users",
    }  # fmt: skip
    assert effective(old, old) is old


def test_a_key_that_is_in_no_table_of_classes_needs_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saying so is never wrong."""
    monkeypatch.delitem(APPLIES, "links.idle_s")
    (change,) = diff(config(), config("links.idle_s = 7"))
    assert change.applies is Applies.RESTART


def test_a_table_inside_of_an_entry_is_told_with_its_entry() -> None:
    """Which peer's objectives they are."""
    peer = '[[peer]]\ndomain = "b.example"\nobjectives = {{ availability_percent = {} }}\n'
    old, new = (config(tail=SERVICE + DOMAIN + peer.format(number)) for number in (90, 95))
    assert told(diff(old, new)) == [
        "~ [[peer.objectives]] b.example: availability_percent: 90.0 -> 95.0 (at once)"
    ]
    assert diff(old, new).touch("peer")
