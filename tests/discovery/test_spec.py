"""The specification says what the code does: its numbers, its vectors, its zone file."""

import json
import re
from pathlib import Path

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest

from imxrouter.discovery import cache, finder, guard, imxrr, plan, search
from imxrouter.discovery.answers import TYPE_IMX
from imxrouter.discovery.imxrr import ImxRecord
from imxrouter.discovery.rdata import imx_from_text
from imxrouter.discovery.records import Form
from imxrouter.model.domain import Domain
from imxrouter.model.ports import DEFAULT_IMX_PORT
from tests.doubles.zones import FakeZones

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "docs" / "specs" / "imx-dns-record.md").read_text()
VECTORS = json.loads((ROOT / "tests" / "vectors" / "dns-record.json").read_text())


def test_numbers_are_those_of_the_code() -> None:
    """Each constant stands in the text."""
    for sentence in (
        f"| RR type IMX | {TYPE_IMX} (0x{TYPE_IMX:X}) |",
        f"| default port | {DEFAULT_IMX_PORT} |",
        f"| ALPN name | `{imxrr.ALPN_IMX}` |",
        f"At most {plan.MAX_ALIASES} aliases are followed",
        (
            f"keep at most {search.MAX_TARGETS} targets of an answer, "
            f"and read at most {search.MAX_RECORDS} records"
        ),
        f"at least {cache.MIN_TTL_S} seconds and at most one hour",
        f"at least {cache.MIN_TTL_S} seconds and at most 5 minutes",
        f"A failure is kept for {cache.FAILURE_TTL_S} seconds",
        f"at most {cache.STALE_S // 3600} hours ago",
        f"one question to {finder.FindLimits().question_s:g} seconds and a search to",
        "443 by default",
    ):
        assert sentence in re.sub(r"\n\s*", " ", SPEC).replace("  ", " ") or sentence in SPEC, sentence
    assert (cache.MAX_TTL_S, cache.MAX_NEGATIVE_TTL_S) == (3600, 300)
    assert (finder.FindLimits().question_s, finder.FindLimits().search_s) == (5, 10)
    assert {443} == guard.DEFAULT_LOW_PORTS


def test_every_parameter_has_its_row() -> None:
    """The table of section 4 is complete."""
    for key in imxrr.Key:
        assert f"| {int(key)} | `{imxrr.key_text(key)}`" in SPEC
    for code, word in enumerate(imxrr.TLS_WORDS):
        assert f"| {code} | `{word}` |" in SPEC
    for code, word in imxrr.AUTH_WORDS.items():
        assert f"| {code} | `{word}` |" in SPEC


def test_vectors_stand_in_the_text() -> None:
    """What the text shows is what the tests read."""
    for vector in VECTORS["good"]:
        if vector.get("canonical", True):
            assert f"| `{vector['text']}` | `{vector['rdata']}` |" in SPEC
    for vector in VECTORS["bad"]:
        assert (
            f"| {'`' + vector['rdata'] + '`' if vector['rdata'] else '(no octets)'} | {vector['name']} |"
            in SPEC
        )


@pytest.mark.parametrize("line", re.findall(r"^ +\S+ +IMX +(.*)$", SPEC, re.MULTILINE))
def test_examples_are_records(line: str) -> None:
    """Each example can be read."""
    assert imx_from_text(line).priority >= 0


def test_zone_file_is_found_in_each_form() -> None:
    """The zone of section 9.1 says the same three times."""
    match = re.search(r"```zone\n(.*?)```", SPEC, re.DOTALL)
    assert match is not None
    zones = FakeZones(match.group(1))
    found = plan.Plan(Domain.parse("a.example"))
    zones.ask("a.example", TYPE_IMX).addCallback(found.feed)
    assert found.verdict is not None
    assert found.verdict.form is Form.IMX
    assert found.verdict.targets[0].port == 7000
    assert found.verdict.targets[0].tls == "required"
    generic = re.search(r"TYPE65400 (\\# 29 \w+)", SPEC)
    comment = re.search(r"^; (1 imx1.*)$", SPEC, re.MULTILINE)
    assert generic is not None
    assert comment is not None
    assert imx_from_text(generic.group(1)) == imx_from_text(comment.group(1))


def test_dnspython_reads_past_parameters_of_an_alias() -> None:
    """As section 3 asks."""
    wire = bytes.fromhex(next(v for v in VECTORS["good"] if "of an alias" in v["name"])["rdata"])
    kind = dns.rdatatype.RdataType.make(TYPE_IMX)
    read = dns.rdata.from_wire(dns.rdataclass.IN, kind, wire, 0, len(wire)).to_wire()
    assert read is not None
    assert ImxRecord.parse(read) == ImxRecord.parse(wire)
