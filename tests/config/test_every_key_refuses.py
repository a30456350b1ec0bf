"""Every key of the configuration: what it does not take is refused, in one line that an operator can act on.

The keys come from the schema, so that a new one is tested by being there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, get_args, get_origin

import pytest
from click.testing import CliRunner
from msgspec.structs import FieldInfo, fields

from imxrouter.cli.exits import Exit
from imxrouter.cli.main import imxctl
from imxrouter.config.applies import SECRET
from imxrouter.config.load import Document, parse
from imxrouter.config.problems import ConfigError, Problem
from imxrouter.config.schema import Config
from imxrouter.config.sections import Section
from imxrouter.config.texts import MASKED, toml_value
from imxrouter.config.walk import Walk, array_type, bare_type, literal_words, meta_of, table_type

#: Name of a table, and whether it is a list of them.
Place = tuple[tuple[str, bool], ...]


def _tables(schema: type[Section], place: Place = ()) -> Iterator[tuple[Place, type[Section]]]:
    yield place, schema
    for info in fields(schema):
        table, entries = table_type(info), array_type(info)
        inner = table or entries
        if inner is not None:
            yield from _tables(inner, (*place, (info.encode_name, entries is not None)))


def _keys() -> Iterator[tuple[Place, FieldInfo]]:
    for place, schema in _tables(Config):
        for info in fields(schema):
            if table_type(info) is None and array_type(info) is None:
                yield place, info


def _path(place: Place, name: str) -> str:
    return "".join(f"{table}{'[0]' if many else ''}." for table, many in place) + name


TABLES = list(_tables(Config))
KEYS = list(_keys())
_every_key = pytest.mark.parametrize(
    ("place", "info"), KEYS, ids=[_path(place, info.encode_name) for place, info in KEYS]
)
_every_table = pytest.mark.parametrize(
    ("place", "schema"), TABLES, ids=[_path(place, "") or "top" for place, _ in TABLES]
)


def _problems(place: Place, name: str, value: Any) -> list[Problem]:
    """What the check says of one key."""
    data: dict[str, Any] = {name: value}
    for table, many in reversed(place):
        data = {table: [data] if many else data}
    walk = Walk("r.toml", PurePath("/etc/imxrouter"))
    walk.tidy(Config, data)
    return [one for one in walk.problems if one.path == _path(place, name)]


def _of_another_type(info: FieldInfo) -> list[Any]:
    kind = bare_type(info)
    simple = get_args(kind)[0] if get_origin(kind) is not None and not literal_words(kind) else kind
    wrong: list[Any] = [{"x": 1}, [{}], float("nan"), "a" if simple in (bool, int, float) else True]
    if simple is int:
        wrong.append(1.5)
    if simple in (int, float):
        wrong.append(True)
    if literal_words(kind):
        wrong += ["nonesuch", 1]
    return wrong


def _outside(info: FieldInfo) -> list[Any]:
    meta = meta_of(info)
    bounds = [(meta.ge, -1), (meta.le, 1)]
    found: list[Any] = [bound + way for bound, way in bounds if bound is not None]
    return [*found, ""] if meta.min_length and bare_type(info) is str else found


@_every_key
def test_what_a_key_does_not_take_is_refused(place: Place, info: FieldInfo) -> None:
    """One line: file, key, the value, and what is allowed."""
    path, meta = _path(place, info.encode_name), meta_of(info)
    for value in (*_of_another_type(info), *_outside(info)):
        (problem,) = _problems(place, info.encode_name, value)
        line = str(problem)
        assert line.startswith(f"r.toml: {path}: ")
        assert "\n" not in line
        shown = MASKED if path in SECRET else toml_value(value)
        assert problem.what.startswith(f"{shown} is n"), line
        for bound in (meta.ge, meta.le):
            assert bound is None or f"{bound:.12g}" in problem.what, line
        assert all(word in problem.what for word in literal_words(bare_type(info))), line
        assert problem.do


@_every_key
def test_bounds_and_defaults_are_taken(place: Place, info: FieldInfo) -> None:
    """The other half: what is allowed passes, the bounds included."""
    meta = meta_of(info)
    good: list[Any] = [bound for bound in (meta.ge, meta.le) if bound is not None]
    words = [word for word in literal_words(bare_type(info)) if word]
    good += [words, *([one] for one in words)] if get_origin(bare_type(info)) is tuple and words else words
    if isinstance(info.default, str | bool | int | float):
        good.append(info.default)
    for value in good:
        assert _problems(place, info.encode_name, value) == []


@_every_table
def test_an_unknown_key_is_refused_in_every_table(place: Place, schema: type[Section]) -> None:
    """With the nearest that exists, or all where none is near."""
    known = next(iter(fields(schema))).encode_name
    (problem,) = _problems(place, f"{known}z", 1)
    assert problem.what == "unknown key"
    assert known in problem.do
    (problem,) = _problems(place, "qqqqqqqq", 1)
    assert all(info.encode_name in problem.do for info in fields(schema))


#: Pairs that contradict each other: what stands in the file, the key that is named, its value and the other.
PAIRS = [
    ("links.answer_timeout_s = 10", "links.answer_timeout_s", "10 is not above dial.hold_s (15)"),
    ("dial.hold_s = 30", "links.answer_timeout_s", "30 is not above dial.hold_s (30)"),
    ("links.ping_s = 40", "links.dead_s", "30 is not above links.ping_s (40)"),
    (
        "links.answer_timeout_s = 60", "links.duplicate_window_s",
        "60 is not above links.answer_timeout_s (60)",
    ),
    ("links.credit_bytes = 2000", "links.credit_bytes", "2000 is not at least links.max_record_bytes"),
    (
        "links.unread_answer_bytes = 4096", "links.unread_answer_bytes",
        "4096 is not above links.output_high_bytes (1048576)",
    ),
    (
        "limits.max_message_bytes = 65536", "links.max_record_bytes",
        "65536 is not above limits.max_message_bytes (65536)",
    ),
    ("dial.backoff_cap_s = 0.5", "dial.backoff_cap_s", "0.5 is not at least dial.backoff_first_s (1)"),
    ("dial.hold_bytes = 99999999", "dial.hold_total_bytes", "67108864 is not at least dial.hold_bytes"),
    ("dns.ttl_cap_s = 1", "dns.ttl_cap_s", "1 is not at least dns.ttl_floor_s"),
    ("dns.lookup_timeout_s = 0.1", "dns.lookup_timeout_s", "0.1 is not at least dns.query_timeout_s"),
    ("trust.proof_max_age_s = 1", "trust.proof_max_age_s", "1 is not at least caps.proof_timeout_s (60)"),
]  # fmt: skip
TAIL = '\n[[service]]\nname = "home"\nkind = "embedded"\n[[domain]]\nname = "a.example"\nservice = "home"\n'


@pytest.mark.parametrize(("line", "path", "says"), PAIRS, ids=[line for line, _, _ in PAIRS])
def test_pairs_that_contradict_each_other(line: str, path: str, says: str, tmp_path: Path) -> None:
    """By `imxctl config check`: both keys, both values and what to do; exit code 3."""
    file = tmp_path / "r.toml"
    file.write_text(f'name = "r.a.example"\n{line}\n{TAIL}')
    result = CliRunner().invoke(imxctl, ["config", "check", str(file)])
    assert result.exit_code == Exit.CONFIG
    first, second, *rest = result.stderr.splitlines()
    assert first.startswith(f"error: {file}: {path}: {says}")
    assert second.strip().startswith("raise ")
    assert rest == []


def test_every_order_that_a_description_promises_is_kept() -> None:
    """`Above other.` and `At least other.` in the words of a key are checked, and stand in the list above."""
    promised = set()
    for place, info in KEYS:
        here = _path(place, "")
        for word in re.findall(r"(?:Above|At least) ([a-z_.]+)[.;]", meta_of(info).description or ""):
            promised.add((f"{here}{info.encode_name}", word if "." in word else f"{here}{word}"))
    tested = {(path, re.sub(r".*(?:above|at least) ([a-z_.]+).*", r"\1", says)) for _, path, says in PAIRS}
    assert len(promised) > 5
    # a drain that is shorter cuts what is in flight, which an operator may want: a warning
    assert promised - tested == {("drain.deadline_s", "links.close_deadline_s")}
    loaded = parse(Document("r.toml", f'name = "r.a.example"\ndrain.deadline_s = 10\n{TAIL}'))
    (warning,) = [one for one in loaded.warnings if one.path == "drain.deadline_s"]
    assert "10 is not above links.close_deadline_s (10)" in str(warning)


@pytest.mark.parametrize("text", ['dialback.keys = "abcdef0123456789"', "dialback.keys = { k1 = 50123 }"])
def test_a_secret_is_never_shown(text: str) -> None:
    """Not even where it stands wrongly."""
    with pytest.raises(ConfigError) as caught:
        parse(Document("r.toml", f'name = "r.a.example"\n{text}\n{TAIL}'))
    (problem,) = caught.value.problems
    assert str(problem).startswith("r.toml: dialback.keys: (secret) is not a table of texts")
    assert "0123" not in str(caught.value)


def test_no_domains_dir_reads_nothing(tmp_path: Path) -> None:
    """An empty one is none, not the directory of the file itself."""
    file = tmp_path / "r.toml"
    file.write_text(f'name = "r.a.example"\ndomains_dir = ""\ntrust.default_policy = "dialback"\n{TAIL}')
    result = CliRunner().invoke(imxctl, ["config", "check", str(file)])
    assert result.exit_code == Exit.OK, result.output


def test_an_access_entry_of_the_main_file_is_named_with_it(tmp_path: Path) -> None:
    """The file, not only the table."""
    file = tmp_path / "r.toml"
    file.write_text(f'name = "r.a.example"\n{TAIL}\n[[access.entry]]\nmatch = "casino*"\n')
    result = CliRunner().invoke(imxctl, ["config", "check", str(file)])
    assert result.exit_code == Exit.CONFIG
    assert f"error: {file}: access.entry[0].match: " in result.stderr
