"""The software of others that this folder talks to is there and says its version."""

import pytest

from tests.interop.netlab import program, run

pytestmark = pytest.mark.interop

# Program -> the arguments that make it print its version and end.
PEERS = {
    "knotd": ["--version"],
    "kdig": ["--version"],
    "nsd": ["-v"],
    "named": ["-v"],
    "named-checkzone": ["-v"],
    "dig": ["-v"],
    "unbound": ["-V"],
    "haproxy": ["-v"],
    "ip": ["-V"],
    "iptables": ["--version"],
    "promtool": ["--version"],
    "prosodyctl": ["about"],  # `prosody --version` starts the server
    "erl": ["-noinput", "-eval", 'io:format("~s~n", [erlang:system_info(otp_release)]), halt().'],
    "go-sendxmpp": ["--version"],
    "dnsmasq": ["--version"],
    "kresd": ["--version"],
}


@pytest.mark.parametrize("peer", PEERS)
def test_peer_runs(peer: str) -> None:
    """Each peer is installed and answers."""
    done = run(program(peer), *PEERS[peer])
    assert any(character.isdigit() for character in done.stdout + done.stderr)
