"""Attributes of served domains in the configuration: what is wrong is named with its key and a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from imxrouter.app.served.provisioning import domain_entry, served_domain
from imxrouter.config.load import Document, parse, parse_domain
from imxrouter.config.problems import ConfigError
from imxrouter.config.texts import toml_value

GOOD: dict[str, Any] = {
    "subscription_lifetime_s": 900,
    "abuse_contact": "mailto:abuse@a.example",
    "content_types": ["text/plain", "image/*", "*/*"],
    "attributes": {"hours": "9-17", "motto.de": "Größe"},
    "hidden_attributes": ["software", "motto.de"],
}


def entry(**keys: Any) -> dict[str, Any]:
    """A domain's table."""
    return {"name": "a.example", "service": "home", **keys}


def test_the_record_has_what_the_table_says_and_gives_it_back() -> None:
    """Run-time changes start from it."""
    record = served_domain(parse_domain(entry(**GOOD)))
    assert record.subscription_lifetime_s == 900
    assert record.attributes == (("hours", "9-17"), ("motto.de", "Größe"))
    assert GOOD.items() <= domain_entry(record).items()
    assert served_domain(parse_domain(domain_entry(record))) == record
    assert served_domain(parse_domain(entry())).subscription_lifetime_s == 1800


@pytest.mark.parametrize(
    ("keys", "path", "says"),
    [
        ({"abuse_contact": "abuse@a.example"}, "abuse_contact", "is no URI"),
        ({"abuse_contact": "mailto:" + "a" * 2000}, "abuse_contact", "is no URI"),
        ({"content_types": ["text"]}, "content_types", "is no content type"),
        ({"content_types": ["text/plain; charset=utf-8"]}, "content_types", "is no content type"),
        ({"content_types": ["text/plain\n"]}, "content_types", "is no content type"),
        ({"content_types": ["a/b"] * 65}, "content_types", "65 types"),
        ({"subscription_lifetime_s": 59}, "subscription_lifetime_s", "59 is not an integer from 60 to"),
        ({"attributes": {"Hours": "x"}}, "attributes.Hours", "no attribute name"),
        ({"attributes": {"": "x"}}, "attributes.", "no attribute name"),
        ({"attributes": {"a.example/hours": "x"}}, "attributes.a.example/hours", "a key has no '/'"),
        ({"attributes": {"alias": "x"}}, "attributes.alias", "alias is a global key"),
        ({"attributes": {"hours": 9}}, "attributes", "{ hours = 9 } is not a table of texts"),
        ({"attributes": "hours"}, "attributes", '"hours" is not a table of texts'),
        ({"attributes": {f"k{n}": "" for n in range(65)}}, "attributes", "65 attributes"),
        ({"attributes": {"k": "x" * 16384}}, "attributes", "16385 bytes"),
        ({"hidden_attributes": ["hours"]}, "hidden_attributes", "is no attribute of it"),
    ],
)
def test_what_is_wrong_is_named(keys: dict[str, Any], path: str, says: str) -> None:
    """In the file, and in what the administration API sends."""
    with pytest.raises(ConfigError) as alone:
        parse_domain(entry(**keys))
    assert any(says in one.what and one.path.startswith(path) for one in alone.value.problems), alone.value
    lines = "".join(f"{key} = {toml_value(value)}\n" for key, value in entry(**keys).items())
    if path != "attributes." and "/" not in path:  # such keys must be quoted in TOML
        text = 'name = "r.a.example"\n[[service]]\nname = "home"\nkind = "embedded"\n[[domain]]\n' + lines
        with pytest.raises(ConfigError) as whole:
            parse(Document("r.toml", text))
        assert any(
            says in one.what and one.path.startswith(f"domain[0].{path}") for one in whole.value.problems
        ), whole.value
