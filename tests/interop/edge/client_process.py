"""Users of XMPP by slixmpp, in a process of their own: its event loop is not that of the tests.

`python -m tests.interop.edge.client_process SOCKET` answers JSON lines at a unix socket. A request names
what to `do`, for whom (`user`) and with what; its answer has the same `number`, and an `error` where it
failed. What users receive comes unasked, as it was on the wire, which slixmpp's own text of a stanza is not.
"""

from __future__ import annotations

import asyncio
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import slixmpp

#: What a user's client can do besides talking.
_PLUGINS: Final = ("xep_0030", "xep_0045", "xep_0054", "xep_0115", "xep_0163", "xep_0184", "xep_0199")
_LOGIN_S: Final = 15.0
_ANSWER_S: Final = 15.0

Tell = Callable[[dict[str, Any]], None]


class User(slixmpp.ClientXMPP):
    """A user who logs in in clear and decides for himself who may see him."""

    def __init__(self, address: str, password: str, tell: Tell, resource: str) -> None:
        super().__init__(address if "/" in address else f"{address}/{resource}", password)
        self.enable_direct_tls = False
        self.enable_starttls = False
        self.enable_plaintext = True
        self.use_aiodns = False
        for name in _PLUGINS:
            self.register_plugin(name)
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        self.auto_authorize = None
        self.auto_subscribe = False
        self._address = address
        self._tell = tell
        self.up = asyncio.Event()
        self.add_event_handler("session_start", self._started)

    async def _started(self, _event: object) -> None:
        await self.get_roster()
        self.send_presence()
        self.up.set()

    def _spawn_event(self, xml: ET.Element) -> None:
        """Tell of everything that comes, before anything is made of it."""
        self._tell({"user": self._address, "stanza": ET.tostring(xml, encoding="unicode")})
        super()._spawn_event(xml)


class Bridge(slixmpp.ComponentXMPP):
    """A bridge, written as a component (XEP-0114), that decides nothing by itself."""

    def __init__(self, name: str, secret: str, host: str, port: int, tell: Tell) -> None:
        super().__init__(name, secret, host, port)  # type: ignore[no-untyped-call]
        self.use_aiodns = False
        self.register_plugin("xep_0199")
        self.auto_authorize = None
        self.auto_subscribe = False
        self._tell = tell
        self.up = asyncio.Event()
        self.add_event_handler("session_start", lambda _event: self.up.set())

    def _spawn_event(self, xml: ET.Element) -> None:
        """Tell of everything that comes, before anything is made of it."""
        self._tell({"user": self.boundjid.host, "stanza": ET.tostring(xml, encoding="unicode")})
        super()._spawn_event(xml)


class Users:
    """All users, and what they are asked to do.

    Args:
        tell: sends a line to who asked.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._users: dict[str, User] = {}
        self._bridges: dict[str, Bridge] = {}

    async def attach(self, user: str, secret: str, host: str, port: int) -> None:
        """Attach a bridge to whoever takes it."""
        bridge = self._bridges[user] = Bridge(user, secret, host, port, self._tell)
        bridge.connect(host, port)
        await asyncio.wait_for(bridge.up.wait(), _LOGIN_S)

    async def bridge(self, user: str, xml: str) -> None:
        """Send a stanza as a bridge, as it is."""
        self._bridges[user].send_raw(xml)

    async def detach(self, user: str) -> None:
        """End a bridge's connection."""
        await self._bridges.pop(user).disconnect()

    async def login(self, user: str, password: str, host: str, port: int, resource: str = "desk") -> None:
        """Log a user in and show him available; what an earlier login has left ends without a word.

        An address with a resource is one more program of the same user, with a name of its own here.
        """
        earlier = self._users.pop(user, None)
        if earlier is not None:
            earlier.abort()
        self._users[user] = User(user, password, self._tell, resource)
        self._users[user].connect(host, port)
        await asyncio.wait_for(self._users[user].up.wait(), _LOGIN_S)

    async def logout(self, user: str) -> None:
        """Log a user out."""
        await self._users.pop(user).disconnect()

    async def raw(self, user: str, xml: str) -> None:
        """Send a stanza as it is."""
        self._users[user].send_raw(xml)

    async def message(self, user: str, to: str, text: str, ident: str = "", *, receipt: bool = False) -> None:
        """Send a chat message, with a request for a receipt or without."""
        message = self._users[user].make_message(to, text, mtype="chat")
        if ident:
            message["id"] = ident
        if receipt:
            message["request_receipt"] = True
        message.send()

    async def presence(
        self, user: str, to: str = "", kind: str = "", show: str = "", status: str = ""
    ) -> None:
        """Send presence of any kind: to all, or to one."""
        self._users[user].send_presence(
            pshow=show or None, pstatus=status or None, pto=to or None, ptype=cast(Any, kind or None)
        )

    async def publish_card(self, user: str, name: str) -> None:
        """Store a card (XEP-0054) with a full name."""
        plugin = self._users[user].plugin["xep_0054"]
        card = plugin.make_vcard()
        card["FN"] = name
        await plugin.publish_vcard(card, timeout=_ANSWER_S)

    async def card(self, user: str, of: str) -> str:
        """Fetch the full name on somebody's card."""
        got = await self._users[user].plugin["xep_0054"].get_vcard(jid=slixmpp.JID(of), timeout=_ANSWER_S)
        return str(got["vcard_temp"]["FN"])

    async def features(self, user: str, of: str) -> list[str]:
        """Ask what somebody's program can do (XEP-0030)."""
        plugin = self._users[user].plugin["xep_0030"]
        got = await plugin.get_info(jid=slixmpp.JID(of), timeout=_ANSWER_S)
        return sorted(got["disco_info"]["features"])

    async def interest(self, user: str, node: str) -> None:
        """Say that events of a node are wanted (XEP-0163 section 4.3), and show it."""
        client = self._users[user]
        client.plugin["xep_0163"].add_interest(node)
        await client.plugin["xep_0115"].update_caps()
        client.send_presence()

    async def join(self, user: str, room: str, nick: str) -> None:
        """Enter a room."""
        plugin = self._users[user].plugin["xep_0045"]
        await plugin.join_muc_wait(slixmpp.JID(room), nick, maxstanzas=0, timeout=_ANSWER_S)

    async def ping(self, user: str, to: str) -> float:
        """Measure the way to somebody and back, in seconds (XEP-0199)."""
        plugin = self._users[user].plugin["xep_0199"]
        return float(await plugin.ping(slixmpp.JID(to), timeout=_ANSWER_S))

    async def close(self) -> None:
        """End all connections."""
        for user in list(self._users):
            await self.logout(user)
        for user in list(self._bridges):
            await self.detach(user)


async def _serve(path: str) -> None:
    over = asyncio.Event()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def tell(line: dict[str, Any]) -> None:
            writer.write(json.dumps(line).encode() + b"\n")

        users = Users(tell)
        tasks = set()
        while line := await reader.readline():
            request = json.loads(line)
            task = asyncio.create_task(_answer(users, request, tell))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await users.close()
        over.set()

    server = await asyncio.start_unix_server(one, path)
    async with server:
        await over.wait()


async def _answer(users: Users, request: dict[str, Any], tell: Tell) -> None:
    number, do = request.pop("number"), request.pop("do")
    action: Callable[..., Awaitable[Any]] = getattr(users, do)
    try:
        tell({"number": number, "value": await action(**request)})
    except Exception as problem:  # noqa: BLE001 - told to who asked
        tell({"number": number, "error": f"{do}: {problem!r}"})


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
