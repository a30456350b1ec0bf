"""Loading a configuration: what is read, what is refused, and how it is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imxrouter.config import ConfigError, Loaded, Problem, load
from imxrouter.config.load import Document, parse, parse_domain
from imxrouter.config.net import HostPort, parse_published
from imxrouter.config.schema import policy_for
from imxrouter.config.texts import toml_value

MINIMAL = """
name = "router.a.example"
[[service]]
name = "home"
kind = "embedded"
users = ["alice"]
[[domain]]
name = "A.Example"
service = "home"
"""
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def good(more: str = "", head: str = "") -> Loaded:
    """Parse the minimal text with something before and after it."""
    return parse(Document("/etc/imx/r.toml", head + MINIMAL + more))


def bad(more: str = "", head: str = "") -> dict[str, Problem]:
    """Parse what must fail; return the problems by path."""
    with pytest.raises(ConfigError) as caught:
        good(more, head)
    return {problem.path: problem for problem in caught.value.problems}


def test_minimal_file_gives_defaults() -> None:
    """Three tables are enough; everything else has a default, and names are in wire form."""
    config = good().config
    assert config.role == "gateway"
    assert config.domains[0].name == "a.example"
    assert config.listen.endpoints == (HostPort("0.0.0.0", 6490), HostPort("::", 6490))
    assert config.metrics.endpoint == HostPort("127.0.0.1", 9464)
    assert config.links.dead_s == 30.0
    assert config.admin_socket == "/run/imxrouter/admin.sock"


def test_each_process_has_its_own_socket() -> None:
    """Two processes of one configuration do not fight for one path."""
    assert good(head="process = 3\n").config.admin_socket == "/run/imxrouter/admin-3.sock"


def test_unknown_key_names_path_and_nearest_word() -> None:
    """`links.ping` is refused and `ping_s` is suggested."""
    problem = bad("[links]\nping = 3\n")["links.ping"]
    assert problem.what == "unknown key"
    assert "'ping_s'" in problem.do
    assert str(problem).startswith("/etc/imx/r.toml: links.ping: unknown key")


def test_all_problems_are_told_at_once() -> None:
    """Three mistakes in three tables are three problems."""
    found = bad('[links]\nping_s = "x"\n[dns]\ncache_entries = 1\n[[peer]]\naddresses = []\n')
    assert set(found) == {"links.ping_s", "dns.cache_entries", "peer[0].domain"}
    assert "missing" in found["peer[0].domain"].what
    assert "from 16 to" in found["dns.cache_entries"].what


def test_wrong_word_is_suggested() -> None:
    """A word outside a closed set gets the nearest one."""
    assert "'gateway'" in bad(head='role = "gatewy"\n')["role"].do


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ("[links]\nping_s = 30\n", "links.dead_s"),
        ("[links]\nduplicate_window_s = 5\n", "links.duplicate_window_s"),
        ("[links]\ncredit_bytes = 2000\n", "links.credit_bytes"),
        ("[dns]\nttl_floor_s = 10\nttl_cap_s = 5\n", "dns.ttl_cap_s"),
        ('[listen]\naddresses = ["::1:99999"]\n', "listen.addresses"),
        ('[dial]\nallow_networks = ["10.0.0.1/8"]\n', "dial.allow_networks"),
        ('[dialback.keys]\nk1 = "00"\n', "dialback.keys"),
        ('[[domain]]\nname = "b.example"\nservice = "hom"\n', "domain[1].service"),
        ('[[domain]]\nname = "a.example."\nservice = "home"\n', "domain[1].name"),
        ('[[domain]]\nname = "b.example"\naliases = ["a.example"]\nservice = "home"\n', "domain[1].aliases"),
        ('[[domain]]\nname = "-.example"\nservice = "home"\n', "domain[1].name"),
        ('[[domain]]\nname = "b.example"\ntypes = ["0x01"]\nservice = "home"\n', "domain[1].types"),
        ('[[peer]]\ndomain = "a.example"\n', "peer[0].domain"),
        ('[[service]]\nname = "two"\nkind = "imx"\n', "service[1].key"),
        ('[[limits.exceptions]]\nsender = "a@b@c"\nrate_per_s = 1\n', "limits.exceptions[0].sender"),
        ('[[trust.peer]]\ndomain = "*.-x"\npolicy = "dialback"\n', "trust.peer[0].domain"),
        ('service = 3\n[log]\nlevel = "info"\n', ""),
        ('[listen]\npublish = ["im1.a.example"]\n', "listen.publish"),
        ('[listen]\npublish = ["foo:bar"]\n', "listen.publish"),
        ('[listen]\npublish = ["im1.a.example:0"]\n', "listen.publish"),
        ('[listen]\npublish = ["192.0.2.1:6490"]\n', "listen.publish"),
        ('[[peer]]\ndomain = "192.0.2.1"\n', "peer[0].domain"),
        ('[[trust.peer]]\ndomain = "192.0.2.1"\npolicy = "dialback"\n', "trust.peer[0].domain"),
        ('[listen]\npublish = ["[2001:db8::1]:6490"]\n', "listen.publish"),
        ('[[domain]]\nname = "1.2.3.4"\nservice = "home"\n', "domain[1].name"),
        ('[[domain]]\nname = "b.example.."\nservice = "home"\n', "domain[1].name"),
        (f'[admin]\nsocket = "/{"x" * 107}"\n', "admin.socket"),
        ('[metrics]\nwatch = ["b.example", "bob@b.example"]\n', "metrics.watch"),
        ("[metrics]\nwatch = [" + '"b.example", ' * 201 + "]\n", "metrics.watch"),
    ],
)
def test_contradictions_are_refused(more: str, path: str) -> None:
    """Each contradiction is named at the key that has to change."""
    assert path in bad(more)


@pytest.mark.parametrize(
    ("head", "path"),
    [
        ('name = "192.0.2.1"\n', "name"),
        ("process = 65535\nworkers = 2\n", "process"),
        ('workers = 2\nmetrics.listen = "127.0.0.1:65535"\n', "metrics.listen"),
        (f'run_dir = "/{"x" * 95}"\nworkers = 2\n', "run_dir"),
    ],
)
def test_what_no_host_can_have_is_refused(head: str, path: str) -> None:
    """An address as a name, numbers and ports above 65535, a socket's path that is too long."""
    rest = MINIMAL.replace('name = "router.a.example"\n', "") if "name" in head else MINIMAL
    with pytest.raises(ConfigError) as caught:
        parse(Document("/etc/imx/r.toml", head + rest))
    assert [problem.path for problem in caught.value.problems] == [path]


def test_published_hosts_are_names_with_ports() -> None:
    """In wire form they are what records say."""
    listen = good('[listen]\npublish = ["IM1.a.example:6490", "bücher.example:7000"]\n').config.listen
    assert [parse_published(text) for text in listen.publish] == [
        ("im1.a.example", 6490), ("xn--bcher-kva.example", 7000),
    ]  # fmt: skip


@pytest.mark.parametrize("content", [None, b"\xff", b"k1 zz", b""])
def test_key_files_are_read_too(tmp_path: Path, content: bytes | None) -> None:
    """Missing, not UTF-8, no key: each file is named with its key."""
    main = tmp_path / "r.toml"
    uplink = '[[uplink]]\nname = "hub"\naddress = "192.0.2.1:1"\nkey_file = "up.key"\n'
    main.write_text('dialback.key_file = "db.keys"\n' + MINIMAL + uplink)
    if content is not None:
        (tmp_path / "db.keys").write_bytes(content)
        (tmp_path / "up.key").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(main)
    found = {problem.path: problem.what for problem in caught.value.problems}
    assert set(found) == {"dialback.key_file", "uplink[0].key_file"}
    assert str(tmp_path / "db.keys") in found["dialback.key_file"]
    assert str(tmp_path / "up.key") in found["uplink[0].key_file"]


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot be read"), (b"\xff", "UTF-8"), (b"", "one line")]
)
def test_files_of_secrets_are_read_too(tmp_path: Path, content: bytes | None, says: str) -> None:
    """A component's, and that of ours at a server: else `config check` is content, and the start fails."""
    main = tmp_path / "r.toml"
    main.write_text(
        'name = "r.example"\nrole = "aggregator"\n'
        '[xmpp.components]\nlisten = ["127.0.0.1:1"]\nallow = ["127.0.0.1/32"]\n'
        '[[xmpp.component]]\nservice = "chat"\naddress = "10.0.0.5:1"\nsecret_file = "a.secret"\n'
        'domains = ["far.example"]\n'
        '[[service]]\nname = "bridge"\nkind = "component"\nsecret_file = "b.secret"\n'
        '[[service]]\nname = "chat"\nkind = "xmpp"\n'
    )
    files = {"xmpp.component[0].secret_file": "a.secret", "service[0].secret_file": "b.secret"}
    for name in files.values():
        (tmp_path / name).write_bytes(b"good\n")
    load(main)
    for name in files.values():
        (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(main)
    assert {problem.path for problem in caught.value.problems} == set(files)
    for problem in caught.value.problems:
        assert str(tmp_path / files[problem.path]) in problem.what
        assert says in problem.what
        assert "router's user" in problem.do


IMX = f'[[service]]\nname = "two"\nkind = "imx"\nkey = "{PUBLIC}"\n'


def test_an_uplink_without_a_key_logs_in_by_certificate(tmp_path: Path) -> None:
    """No file is looked for where none is named."""
    main = tmp_path / "router.toml"
    uplink = '[[uplink]]\nname = "hub"\naddress = "192.0.2.1:1"\nserver_name = "hub.example"\n'
    main.write_text('tls.certificates = "certs"\n' + MINIMAL + uplink)
    assert load(main).config.uplinks[0].key_file == ""


UPLINK = '[[uplink]]\nname = "hub"\naddress = "192.0.2.1:1"\nkey_file = "/etc/imx/up.key"\n'


def test_logins_that_cannot_be_made_are_warnings() -> None:
    """A key login needs TLS outside laboratories."""
    used = IMX + '[[domain]]\nname = "b.example"\nservice = "two"\n' + UPLINK
    head = 'role = "aggregator"\ntrust.default_policy = "dialback"\n'
    found = {one.path: one.what for one in good(used, head).warnings}
    assert set(found) == {"service[1]", "uplink[0]"}
    assert all("needs TLS" in what for what in found.values())
    assert [one.path for one in good(used, head + "lab = true\n").warnings] == ["lab"]


def test_users_of_domains_that_are_not_served_are_warnings() -> None:
    """A full address whose domain is another service's, or nobody's; aliases count."""
    text = MINIMAL.replace('"alice"', '"alice", "bob@a.example", "carol@www.a.example", "dave@c.example"')
    text = "trust.default_policy = 'dialback'\n" + text + 'aliases = ["www.a.example"]\n'
    (warning,) = parse(Document("r.toml", text)).warnings
    assert (warning.path, warning.what) == (
        "service[0].users", "nobody can write to dave@c.example: c.example is not served by it",
    )  # fmt: skip


@pytest.mark.parametrize("head", ["workers = 2\n", "listen.reuse_port = true\n"])
def test_presence_that_several_processes_would_have_is_a_warning(head: str) -> None:
    """Users of an embedded service have messages only; a service of its own is not touched."""
    head = 'trust.default_policy = "dialback"\nlab = true\n' + head
    (key,) = {one.path for one in good(head=head).warnings} - {"lab"}
    assert key == head.splitlines()[-1].partition(" ")[0]
    own = MINIMAL.replace('kind = "embedded"\nusers = ["alice"]', f'kind = "imx"\nkey = "{PUBLIC}"')
    assert [one.path for one in parse(Document("r.toml", head + own)).warnings] == ["lab"]


def test_who_may_see_and_write_is_for_embedded_services() -> None:
    """A service of its own has rules of its own; a word that is none is refused."""
    second = f'[[service]]\nname = "two"\nkind = "imx"\nkey = "{PUBLIC}"\n'
    head = 'role = "aggregator"\n'
    assert {*bad(second + 'presence = "open"\nmessages = "ask"\n', head)} == {
        "service[1].presence",
        "service[1].messages",
    }
    third = '[[service]]\nname = "three"\nkind = "embedded"\n'
    assert "service[1].presence" in bad(third + 'presence = "block"\n', head)
    service = good(third + 'presence = "contacts"\nmessages = "ask"\n', head).config.services[1]
    assert (service.presence, service.messages) == ("contacts", "ask")


def test_gateway_has_one_service() -> None:
    """A second service needs the role aggregator."""
    second = f'[[service]]\nname = "two"\nkind = "imx"\nkey = "{PUBLIC}"\n'
    assert "aggregator" in bad(second)["role"].do
    assert len(good(second, 'role = "aggregator"\n').config.services) == 2


def test_default_policy_without_tls_is_a_warning() -> None:
    """The strongest policy stays the default; that nobody can meet it yet is said."""
    (warning,) = good().warnings
    assert warning.path == "trust.default_policy"
    assert "dialback" in warning.do
    assert good('[trust]\ndefault_policy = "dialback"\n').warnings == ()


def test_domain_that_nobody_can_reach_is_a_warning() -> None:
    """A served domain whose policy needs TLS is named where it stands."""
    more = Document("/etc/imx/domains.d/b.toml", '[[domain]]\nname = "b.example"\nservice = "home"\n'
                    'policy = "certificate"\n')  # fmt: skip
    warnings = parse(Document("/etc/imx/r.toml", MINIMAL), [more]).warnings
    assert (warnings[-1].file, warnings[-1].path) == (more.file, "domain[0].policy")


def test_policy_rules_prefer_the_nearest() -> None:
    """A pin beats a name, a name beats its zone, a near zone beats a far one."""
    config = good(
        '[[trust.peer]]\ndomain = "*.Example"\npolicy = "dialback"\n'
        '[[trust.peer]]\ndomain = "*.b.example"\npolicy = "dialback+tls"\n'
        '[[peer]]\ndomain = "x.b.example"\naddresses = ["192.0.2.1:6490"]\npolicy = "certificate"\n'
    ).config
    rules = config.policy_rules
    found = [
        policy_for(rules, "dialback+certificate", name)
        for name in ("c.example", "y.b.example", "x.b.example", "example", "b.example")
    ]
    assert found == ["dialback", "dialback+tls", "certificate", "dialback+certificate", "dialback"]


def test_relative_paths_start_at_the_file() -> None:
    """`state` in /etc/imx/r.toml is /etc/imx/state."""
    config = good(head='state_dir = "state"\nrun_dir = "/run/x"\n').config
    assert (config.state_dir, config.run_dir) == ("/etc/imx/state", "/run/x")


def test_domains_come_from_their_directory(tmp_path: Path) -> None:
    """Files of domains.d/ add domains, and a clash names the file it stands in."""
    main, more = tmp_path / "r.toml", tmp_path / "domains.d"
    more.mkdir()
    main.write_text(MINIMAL)
    (more / "b.toml").write_text('[[domain]]\nname = "b.example"\nservice = "home"\n')
    loaded = load(main)
    assert [domain.name for domain in loaded.config.domains] == ["a.example", "b.example"]
    assert [PurePath(name).name for name in loaded.files] == ["r.toml", "b.toml"]
    (more / "c.toml").write_text('[[domain]]\nname = "b.example"\nservice = "home"\n')
    with pytest.raises(ConfigError) as caught:
        load(main)
    (problem,) = caught.value.problems
    assert problem.file.endswith("c.toml")
    assert "b.toml" in problem.what


def test_files_that_cannot_be_read_are_config_errors(tmp_path: Path) -> None:
    """Missing, not UTF-8 and not TOML each say so."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "latin.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ConfigError, match="not TOML"):
        load(tmp_path / "bad.toml")


def test_values_are_frozen() -> None:
    """Nobody changes a loaded configuration."""
    with pytest.raises(AttributeError):
        good().config.links.ping_s = 3  # type: ignore[misc]


def test_one_domain_can_be_checked_alone() -> None:
    """What the administration API sends passes the same schema."""
    entry = parse_domain({"name": "Bücher.example", "service": "home", "types": ["message", "0x0180"]})
    assert entry.name == "xn--bcher-kva.example"
    assert entry.type_numbers == {0x0100, 0x0180}
    for wrong in ({"name": "b.example"}, {"name": "-", "service": "home"}, {"nam": "x", "service": "y"}):
        with pytest.raises(ConfigError):
            parse_domain(dict(wrong))


NAMES = st.sampled_from(["name", "domain", "ping_s", "peer", "service", "policy"])
LEAVES = st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "*.", "dialback", "a@b"])
TABLES = st.dictionaries(NAMES, LEAVES | st.lists(LEAVES, max_size=2), max_size=3)
SECTIONS = st.sampled_from(["links", "name", "domain", "peer", "trust", "service", "limits", "x"])


@given(st.dictionaries(SECTIONS, LEAVES | TABLES | st.lists(LEAVES | TABLES, max_size=2), max_size=4))
def test_any_data_gives_problems_or_a_configuration(data: dict[str, object]) -> None:
    """Whatever shape the data has, only ConfigError comes out."""
    text = "\n".join(f"{name} = {toml_value(value)}" for name, value in data.items())
    with suppress(ConfigError):
        parse(Document("r.toml", text))
    with suppress(ConfigError):
        parse(Document("r.toml", 'name = "r.example"\n' + text))


@pytest.mark.parametrize("folder", ["access.d", "domains.d"])
def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its blocks would be lifted, and its domains removed; root may read all, so the refusal is made."""
    (tmp_path / folder).mkdir()
    main = tmp_path / "router.toml"
    main.write_text(MINIMAL, "utf-8")
    assert load(main).config.domains
    iterdir = Path.iterdir

    def refused(path: Path) -> Iterator[Path]:
        if path.name == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(ConfigError) as caught:
        load(main)
    (problem,) = caught.value.problems
    assert (problem.file, problem.what) == (str(tmp_path / folder), "cannot be read: Permission denied")


@pytest.mark.parametrize("place", ["router.toml", "domains.d/a.toml", "access.d/a.toml"])
@pytest.mark.parametrize("kind", ["pipe", "device", "huge"])
def test_what_is_no_file_to_be_read_is_told(kind: str, place: str, tmp_path: Path) -> None:
    """Nobody waits for a pipe, and nothing without end is read: a reload would never come back."""
    (tmp_path / "router.toml").write_text(MINIMAL, "utf-8")
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "router.toml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.what) == (str(path), "is too large" if kind == "huge" else "is no file")
