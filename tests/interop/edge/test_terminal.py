"""A user who has nothing but a terminal: go-sendxmpp, from its Debian package, behind a router."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Final

import pytest

from tests.interop.edge.clients import PATIENCE_S
from tests.interop.edge.names import PASSWORD
from tests.interop.edge.pairs import WAYS
from tests.interop.edge.places import EJABBERD, PROSODY, Edge
from tests.interop.edge.whole import WholeRouter
from tests.interop.netlab import Place, Program, program, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]

#: Between two messages by which is seen that his program shows them; his server would hold back more.
_ONE_MORE_S: Final = 0.3
#: The way, the server of who has a terminal, and of the other one.
_WHO: Final = {
    "prosody": ("prosody-behind", PROSODY, EJABBERD),
    "ejabberd": ("imx", EJABBERD, PROSODY),
}


class Terminal:
    """The program, for one user.

    Args:
        place: the namespace that it runs in.
        user: his address.
        server: the address of his server.
        where: an existing directory for his files.
    """

    def __init__(self, place: Place, user: str, server: str, where: Path) -> None:
        self._place, self._where = place, where
        # nobody vouches for the servers of this laboratory towards users
        self._words = [program("go-sendxmpp"), "-n", "-u", user, "-p", PASSWORD, "-j", f"{server}:5222"]
        (where / "config").mkdir(parents=True)

    def send(self, to: str, text: str) -> None:
        """Send a message and log out."""
        done = subprocess.run(
            self._command(to), input=text, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0, done

    def listen(self) -> Program:
        """Log in and print what comes."""
        return Program("go-sendxmpp", self._command("-l"), self._where / "screen")

    def reads(self) -> str:
        """What stands on the screen."""
        return (self._where / "screen").read_text()

    def _command(self, *words: str) -> list[str]:
        folders = [f"HOME={self._where}", f"XDG_CONFIG_HOME={self._where / 'config'}"]
        return self._place.command(program("env"), *folders, *self._words, *words)


@pytest.fixture(params=_WHO)
def way(request: pytest.FixtureRequest, lab: Edge, whole: dict[str, WholeRouter]) -> str:  # noqa: ARG001
    """Who has a terminal."""
    return str(request.param)


def test_one_message_each_way(lab: Edge, way: str, tmp_path: Path) -> None:
    """What he types is read by the other one, and what the other one writes stands on his screen."""
    name, his, other = _WHO[way]
    hosts = dict(zip((PROSODY, EJABBERD), WAYS[name], strict=True))
    user = lab.fresh("terry", hosts[his])
    friend = lab.clients.login(lab.fresh("friend", hosts[other]), other.server)
    terminal = Terminal(lab.places["n"], user, his.server, tmp_path / "terminal")
    text = f"typed {time.monotonic_ns()}"
    terminal.send(friend.address, text)
    got = friend.until_reads(text, user)
    assert friend.count(text) == 1
    assert got.get("type") == "chat"

    listening = terminal.listen()
    try:
        back = f"written {time.monotonic_ns()}"

        def stands() -> bool:
            friend.ask("message", to=user, text=back)
            time.sleep(_ONE_MORE_S)
            return back in terminal.reads()

        wait_until(stands, "it stands on his screen")
        assert friend.address in terminal.reads()
    finally:
        listening.kill()
