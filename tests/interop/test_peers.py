"""The software of others that this folder talks to is there and says its version."""

import shutil
import subprocess

import pytest

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
}


@pytest.mark.parametrize("program", PEERS)
def test_peer_runs(program: str) -> None:
    """Each peer is installed and answers within ten seconds."""
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert path is not None, f"{program} is not installed; run ops/ci/install-peers.sh as root"
    done = subprocess.run([path, *PEERS[program]], capture_output=True, check=True, timeout=10)
    assert any(character in b"0123456789" for character in done.stdout + done.stderr)
