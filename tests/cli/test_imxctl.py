"""`imxctl` against a router's double on a real socket: what it prints and how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imxrouter.admin.port import InsideAsked
from imxrouter.admin.views import StoreView
from imxrouter.cli import output
from imxrouter.cli.exits import Exit
from imxrouter.cli.main import imxctl, main
from imxrouter.cli.reference import main as reference
from tests.doubles.admin_port import (
    CERTS,
    CERTS_RELOAD,
    DOCTOR,
    DOMAIN,
    LINK,
    LOOKUP,
    OUTCOME,
    PEER,
    PEER_DETAIL,
    STATUS,
    TOLD,
    ZONE,
)
from tests.doubles.admin_rig import AdminRig

ROOT = Path(__file__).parents[2]

#: What the double answers about resolvers.
INSIDE = {
    "format": "unbound", "file": "/etc/x.conf", "text": "# unbound\n", "router": ["10.0.0.9:5269"],
    "own": ["a.example"], "passes": ["p.example"],
}  # fmt: skip


class Shell(AdminRig):
    """A served double, and `imxctl` pointed at it by the environment."""

    def __call__(self, *words: str, env: dict[str, str] | None = None) -> Result:
        """Run a command."""
        return run(*words, env={"IMXROUTER_ADMIN": str(self.path), **(env or {})})

    def json(self, *words: str) -> Any:
        """Run a command with --json and read its answer."""
        return json.loads(self(*words, "--json").stdout)


def run(*words: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> Result:
    """Run `imxctl` in this process."""
    return CliRunner().invoke(imxctl, list(words), env=env, input=stdin, catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["status"], STATUS),
        (["links"], [LINK]),
        (["peers"], [PEER]),
        (["peers", "show", "b.example"], PEER_DETAIL),
        (["domains", "doctor", "a.example"], DOCTOR),
        (["domains"], [DOMAIN]),
        (["domains", "list"], [DOMAIN]),
        (["dns", "lookup", "b.example"], LOOKUP),
        (["dns", "inside", "--pass", "p.example"], INSIDE),
        (["send", "a@a.example", "b@b.example", "hi"], OUTCOME),
        (["attributes", "b.example"], TOLD),
        (["certs"], CERTS),
        (["certs", "list"], CERTS),
        (["certs", "reload"], CERTS_RELOAD),
    ],
)
def test_json_is_the_answer(shell: Shell, words: list[str], answer: object) -> None:
    """With --json, before or after the command, the answer is printed as it came."""
    assert shell.json(*words) == answer
    assert json.loads(shell("--json", *words).stdout) == answer


def test_a_refused_reload_tells_every_problem(shell: Shell) -> None:
    """On standard error, with the code of a failure; in JSON as it came."""
    shell.port.reloaded = {**CERTS_RELOAD, "result": "refused", "added": [], "renewed": [], "removed": [],
                           "problems": ["a.key: no private key in it: write it"]}  # fmt: skip
    refused = shell("certs", "reload")
    assert refused.exit_code == Exit.FAILED
    assert "nothing is taken; 2 certificates as before" in refused.stderr
    assert "a.key: no private key in it: write it" in refused.stderr
    assert json.loads(shell("certs", "reload", "--json").stdout)["result"] == "refused"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["status"], ["router.a.example (gateway", "running, ready", "1h 2m", "3 accepted"]),
        (["status"], ["state.db: 12 entries, 36864 bytes, last written 2027-01-15 08:00:00 UTC\n"]),
        (["links"], ["192.0.2.1:6490", "router.b.example", "b.example", "3000/2900", "1m 1s"]),
        (["links", "--claims"], ["a.example", "proved", "dialback"]),
        (
            ["certs"],
            ["a.example.crt (default)", "a.example, *.a.example", "2027-01-15 08:00 UTC", "An Authority"],
        ),
        (
            ["certs"],
            ["without a certificate: c.example and 2 more", "not taken: x.crt", "warning: a.example.key"],
        ),
        (["certs", "reload"], ["swapped: 2 certificates", "added  /etc/c.crt", "removed  /etc/b.crt"]),
        (["certs", "reload"], ["process 0: swapped\n", "process 1: absent: w\n"]),
        (["peers"], ["backing-off", "connect-timeout", "in 12.0s"]),
        (["domains"], ["a.example", "active", "home"]),
        (
            ["domains", "doctor", "a.example"],
            ["warning  a stale record [dns: bad-dns-record]", "  wanted: y"],
        ),
        (["domains", "doctor", "a.example"], ["> take it out", ZONE, "a.example: warnings"]),
        (["dns", "lookup", "b.example"], ["_imx.b.example SVCB", "imx.b.example:6490", "ver=1"]),
        (["send", "a@a.example", "b@b.example", "hi"], ["delivered to b.example in 4.0 ms"]),
        (
            ["trace", "00" * 16],
            ["accepted", "source=*@a.example", "failure: too-large at stage limit, decided by"],
        ),
        (
            ["trace", "00" * 16],
            ["limits.max_message_bytes = 16384\n", "do       over the", "note: hops before"],
        ),
        (
            ["trace", "--from", "a.example"],
            ["... 2 older", "*@b.example", "limit: too-large", "note: a note"],
        ),
        (
            ["peers", "show", "b.example"],
            ["failing for 12.0s", "dialback+tls by [trust] default_policy; no link"],
        ),
        (
            ["peers", "show", "b.example"],
            ["from it nothing; to it 4 delivered, 1 failed, answered in 4.0 ms"],
        ),
        (["peers", "show", "b.example"], ["3 failures in a row; waits grow from 1 s to 300 s", "in 12.0s"]),
        (
            ["peers", "show", "b.example"],
            ["connect-timeout at stage connect (192.0.2.1 port 6490)", "proved"],
        ),
        (["attributes", "@b.example"], ["max-message-size  16384", "1h 0m        cache"]),
        (["attributes", "@b.example"], ["no           b.example"]),
        (["attributes", "@b.example"], ["base64: /w==", "x" * 200 + " ..."]),
        (["attributes", "@b.example", "max-message-size", "alias"], ["not told: alias"]),
    ],
)
def test_people_get_tables(shell: Shell, words: list[str], shown: list[str]) -> None:
    """What matters is in the text, and a pipe does not fold it."""
    result = shell(*words)
    assert result.exit_code == 0
    for text in shown:
        assert text in result.output


def test_a_state_file_that_cannot_be_written_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong comes first, then what waits and what was refused."""
    store: StoreView = {
        **STATUS["store"], "problem": "full", "detail": "no room", "waiting": 3, "last_write_at": None,
        "refused": 2,
    }  # fmt: skip
    monkeypatch.setitem(STATUS, "store", store)
    shown = "state.db: not written (full): no room, 12 entries, 36864 bytes, 3 changes wait, 2 refused\n"
    assert shown in shell("status").output


def test_inside_prints_the_file(shell: Shell) -> None:
    """Nothing but its text; every option arrives."""
    words = ["--for", "kresd", "--service", "chat", "--pass", "p.example", "--pass", "q.example"]
    words += ["--upstream", "192.0.2.53", "--listen", "127.0.0.1"]
    assert shell("dns", "inside", *words).output == "# kresd\n"
    asked = InsideAsked("kresd", "chat", ["p.example", "q.example"], ["192.0.2.53"], "127.0.0.1")
    assert shell.port.calls == [("dns_inside", asked)]


def test_records_are_a_zone_file(shell: Shell) -> None:
    """Nothing but the lines to publish, so that the output can be appended to a zone."""
    assert shell("dns", "records", "a.example").output == ZONE


def test_a_failed_message_exits_with_one(shell: Shell) -> None:
    """The answer says status, reason, stage and who decided."""
    shell.port.outcome = {
        **OUTCOME, "status": "failure", "reason": "busy", "stage": "limit", "retry": "later",
        "retry_after_s": 5, "note": "full", "remedy": "see imxctl links",
    }  # fmt: skip
    result = shell("send", "a@a.example", "b@b.example", "hi")
    assert result.exit_code == Exit.FAILED
    for text in (
        "failure: busy at stage limit",
        "b.example (service)",
        "after 5 s",
        "       see imxctl links (full)\n",
    ):
        assert text in result.output
    assert shell("send", "a@a.example", "b@b.example", "hi", "--json").exit_code == Exit.FAILED


@pytest.mark.parametrize(
    ("left", "says"), [(0, "no more message may"), (1, "one more message may"), (3, "3 more messages may")]
)
def test_a_sender_is_warned_before_the_limit(shell: Shell, left: int, says: str) -> None:
    """The answer of a delivered message says how many more may go; without a warning, nothing."""
    assert "rate limit" not in shell("send", "a@a.example", "b@b.example", "hi").output
    shell.port.outcome = {**OUTCOME, "left": left}
    result = shell("send", "a@a.example", "b@b.example", "hi")
    assert result.exit_code == Exit.OK
    assert f"near the rate limit: {says} go at once" in result.output


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"status": "failure", "retry": "never"}, "; trying again will not help"),
        ({"status": "failure", "retry": "never", "retry_after_s": 5}, "; trying again will not help"),
        ({"status": "failure", "retry": "later", "retry_after_s": 5}, "; try again after 5 s"),
        ({"status": "failure", "retry": "later"}, "; try again later"),
        ({"status": "indeterminant", "retry": "later"}, "; it may or may not have been delivered"),
    ],
)
def test_every_failure_comes_with_advice(shell: Shell, changes: dict[str, Any], advice: str) -> None:
    """Whether and when to try again, as the registry of reasons has it."""
    shell.port.outcome = {**OUTCOME, **changes}  # type: ignore[typeddict-item]
    assert shell("send", "a@a.example", "b@b.example", "hi").output.splitlines()[0].endswith(advice)


def test_what_is_known_of_a_peer_is_cleared(shell: Shell) -> None:
    """Said in words, and in JSON; what was not there is no error where it was only a wait."""
    assert shell("peers", "retry", "b.example").output == "b.example: cleared: back-off\n"
    assert shell("peers", "retry", "d.example").output == "d.example: nothing was waited for\n"
    assert shell.json("peers", "forget", "b.example") == {"domain": "b.example", "cleared": ["dialback"]}
    assert shell("peers", "forget", "c.example").exit_code == Exit.NOT_FOUND
    assert shell.port.calls == [
        ("peer_retry", "b.example"), ("peer_retry", "d.example"), ("peer_forget", "b.example"),
        ("peer_forget", "c.example"),
    ]  # fmt: skip


def test_a_router_checks_as_one_of_its_domains(shell: Shell) -> None:
    """It is asked with the time-out given; what it answers is shown as a check from outside is."""
    result = shell("check", "b.example", "--as", "a.example", "--timeout", "2")
    assert result.exit_code == Exit.FAILED
    assert shell.port.calls == [("check", "b.example", "a.example", 2.0)]
    assert "service   not tried          - stage dns failed" in result.output
    assert "b.example: no-such-domain at stage dns" in result.output
    assert shell.json("check", "b.example", "--as", "a.example")["ours"] == "a.example"
    assert run("check", "b.example", "--as", "a.example", "--socket", "/none").exit_code == Exit.UNREACHABLE


def test_domains_show_what_changed(shell: Shell) -> None:
    """Each change prints its diff and reaches the port."""
    added = shell("domains", "add", "c.example", "--service", "home", "--alias", "d.example")
    assert "c.example: added" in added.output
    assert "service: - -> home" in added.output
    assert "state: active -> suspended" in shell("domains", "suspend", "c.example").output
    shell("domains", "resume", "c.example")
    assert "removed" in shell("domains", "remove", "c.example").output
    assert shell.port.calls == [
        ("domain_add", {"name": "c.example", "service": "home", "aliases": ["d.example"]}),
        ("domain_change", "c.example", {"state": "suspended"}),
        ("domain_change", "c.example", {"state": "active"}),
        ("domain_remove", "c.example"),
    ]


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (["--policy", "dialback", "--max-message-bytes", "100"],
         {"policy": "dialback", "max_message_bytes": 100}),
        (["--alias", "c.example", "--alias", "d.example"], {"aliases": ["c.example", "d.example"]}),
        (["--no-aliases", "--no-policy"], {"aliases": [], "policy": None}),
        (["--service", "office", "--tenant", ""], {"service": "office", "tenant": ""}),
        (["--max-message-bytes", "0"], {"max_message_bytes": 0}),
        (["--subscription-lifetime", "600", "--abuse-contact", ""],
         {"subscription_lifetime_s": 600, "abuse_contact": ""}),
        (["--attribute", "hours=9-17", "--attribute", "motto=a=b", "--hide", "motto"],
         {"attributes": {"hours": "9-17", "motto": "a=b"}, "hidden_attributes": ["motto"]}),
        (["--content-type", "text/plain"], {"content_types": ["text/plain"]}),
    ],
)  # fmt: skip
def test_domains_change_what_is_named(shell: Shell, words: list[str], changes: dict[str, Any]) -> None:
    """Nothing else is sent; what the router answers is the diff."""
    assert "a.example: changed" in shell("domains", "change", "a.example", *words).output
    assert shell.port.calls == [("domain_change", "a.example", changes)]


@pytest.mark.parametrize(
    "words", [[], ["--alias", "c.example", "--no-aliases"], ["--policy", "dialback", "--no-policy"]]
)
def test_a_change_says_what_to_change(shell: Shell, words: list[str]) -> None:
    """Nothing, or one thing and its opposite, is a wrong command line."""
    assert shell("domains", "change", "a.example", *words).exit_code == Exit.USAGE
    assert shell.port.calls == []


def test_a_question_is_handed_over_as_it_was_put(shell: Shell) -> None:
    """Owner, names, who asks, and whether the cache may answer."""
    assert shell("attributes", "bob@b.example", "alias", "--as", "alice@a.example", "--fresh").exit_code == 5
    shell("attributes", "@b.example")
    assert shell.port.calls == [
        ("attributes", "bob@b.example", ["alias"], "alice@a.example", "fresh"),
        ("attributes", "@b.example", [], ""),
    ]


def test_values_of_others_do_not_steer_a_terminal(shell: Shell) -> None:
    """Control characters are shown as escapes."""
    shell.port.told["values"][0]["value"] = "a\x1b[2Jb"
    shell.port.told["owner"] = "x"
    shown = shell("attributes", "@b.example").output
    assert "\x1b" not in shown
    assert "a\\x1b[2Jb" in shown


def test_a_question_that_fails_says_the_remedy(shell: Shell) -> None:
    """Stage, reason, who decided, when to try again; exit code 1, in JSON as well."""
    shell.port.told = {
        **TOLD, "status": "failure", "reason": "busy", "stage": "limit", "retry": "later", "retry_after_s": 5,
        "remedy": "wait", "values": [],
    }  # fmt: skip
    result = shell("attributes", "@b.example")
    assert result.exit_code == Exit.FAILED
    assert "failure: busy at stage limit, decided by b.example (router); try again after 5 s" in result.output
    assert "       wait\n" in result.output
    assert shell("attributes", "@b.example", "--json").exit_code == Exit.FAILED


def test_exit_codes(shell: Shell, tmp_path: Path) -> None:
    """Each kind of failure has its own."""
    assert shell("send", "carol@a.example", "b@b.example", "x").exit_code == Exit.NOT_FOUND
    assert shell("send", "mallory@a.example", "b@b.example", "x").exit_code == Exit.FAILED
    assert shell("domains", "add", "a.example", "--service", "home").exit_code == Exit.FAILED
    assert shell("dns", "lookup", "none.example").exit_code == Exit.FAILED
    assert shell("trace", "11" * 16).exit_code == Exit.NOT_FOUND
    assert shell("trace", "--to", "c.example", "--since", "15m").exit_code == Exit.NOT_FOUND
    assert shell.port.calls[-1] == ("traces", "", "c.example", 900.0)
    assert shell("trace", "--from", "a.example", "--since", "soon").exit_code == Exit.USAGE
    assert shell("peers", "show", "c.example").exit_code == Exit.NOT_FOUND
    assert shell("domains", "doctor", "c.example").exit_code == Exit.FAILED
    assert shell("nonsense").exit_code == Exit.USAGE
    gone = run("status", "--socket", str(tmp_path / "none"))
    assert gone.exit_code == Exit.UNREACHABLE
    assert "start the router" in gone.output


def test_an_option_wins_over_the_environment(shell: Shell) -> None:
    """--socket before or after the command is stronger than IMXROUTER_ADMIN."""
    wrong = {"IMXROUTER_ADMIN": "/nonexistent"}
    for words in (["--socket", str(shell.path), "status"], ["status", "--socket", str(shell.path)]):
        assert shell(*words, env=wrong).exit_code == 0
    assert shell("status", env=wrong).exit_code == Exit.UNREACHABLE


def test_errors_are_json_too(shell: Shell) -> None:
    """Scripts read what, where and what to do."""
    error = shell.json("send", "carol@a.example", "b@b.example", "x")["error"]
    assert error == {"what": "no such user", "where": "from", "do": "add the user to its service"}


def test_watch_shows_messages_as_they_come(shell: Shell) -> None:
    """A message from elsewhere appears; control characters in it do not reach the terminal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "imxrouter.cli.main", "--socket", str(shell.path), "watch", "a@a.example",
         "--count", "1"], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not shell.port.watchers and process.poll() is None:
            time.sleep(0.01)
        message: Any = {"at": 0, "id": "", "source": "b@b.example", "destination": "", "content_type": "",
                        "text": "hi\x1b[31m"}  # fmt: skip
        shell.thread.call(lambda: shell.port.watchers[0](message))
        text, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "b@b.example: hi\\x1b[31m" in text
    assert process.returncode == 0


def test_config_check(tmp_path: Path) -> None:
    """0 for a good file, 3 with every problem for a bad one, in both forms; no router is asked."""
    assert run("config", "check", str(ROOT / "ops/sample/imxrouter.toml")).exit_code == 0
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "r.example"\n[links]\npings = 1\ndead_s = "x"\n')
    result = run("config", "check", str(bad))
    assert result.exit_code == Exit.CONFIG
    assert "links.pings: unknown key" in result.output
    answer = json.loads(run("config", "check", str(bad), "--json").stdout)
    assert answer["valid"] is False
    assert [problem["path"] for problem in answer["problems"]] == ["links.pings", "links.dead_s"]
    assert run("config", "check", str(tmp_path / "none")).exit_code == Exit.CONFIG


def test_durations() -> None:
    """In the largest two units."""
    shown = [output.duration(seconds) for seconds in (None, 0.25, 59.96, 61, 3725, 90061)]
    assert shown == ["", "0.2s", "60.0s", "1m 1s", "1h 2m", "1d 1h"]


def test_the_program_exits_with_its_code(tmp_path: Path) -> None:
    """`main` turns results into exit codes of the process."""
    words = [sys.executable, "-m", "imxrouter.cli.main", "--socket", str(tmp_path / "none")]
    assert subprocess.run([*words, "status"], capture_output=True, check=False).returncode == Exit.UNREACHABLE
    assert subprocess.run([*words, "--bad"], capture_output=True, check=False).returncode == Exit.USAGE
    assert subprocess.run([*words, "--version"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "what", "do"),
    [
        (["status", "--bad", "--json"], "No such option", "see imxctl status --help"),
        (["--json", "send", "a@a.example"], "Missing argument", "see imxctl send --help"),
        (["--json", "nonsense"], "No such command", "see imxctl --help"),
        (["watch", "a@a.example", "--count", "0", "--json"], "x>=1", "see imxctl watch --help"),
        (["dns", "--json"], "No such option", "see imxctl dns --help"),
    ],
)
def test_wrong_command_lines_are_json_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], what: str, do: str
) -> None:
    """On standard output, like every error with --json; the code stays 2."""
    monkeypatch.setattr(sys, "argv", ["imxctl", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == Exit.USAGE
    shown = capsys.readouterr()
    error = json.loads(shown.out)["error"]
    assert what in error["what"]
    assert (error["where"], error["do"], shown.err) == ("", do, "")


def test_a_text_is_no_option(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What stands after `--` is not looked at."""
    monkeypatch.setattr(sys, "argv", ["imxctl", "send", "a@a.example", "--", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == Exit.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Missing argument" in shown.err


def test_the_page_is_current() -> None:
    """docs/reference/imxctl.md is what the commands say."""
    assert reference(["--check", str(ROOT)]) == 0
