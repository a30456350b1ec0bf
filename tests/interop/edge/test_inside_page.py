"""What docs/operators/xmpp-inside.md says is what the laboratory is made of."""

from __future__ import annotations

import re

import pytest

from tests.interop.edge.insides import FREE
from tests.interop.edge.insides import RESOLVER as DIVERTING
from tests.interop.edge.names import Mode
from tests.interop.edge.places import EJABBERD, PROSODY, RESOLVER, Edge
from tests.interop.edge.routers import PAGE, EdgeRouter, page_block

pytestmark = [pytest.mark.interop, pytest.mark.needs_root]


def test_command_makes_the_file_that_leads_the_servers(lab: Edge, routers: dict[str, EdgeRouter]) -> None:
    """`imxctl dns inside`, asked of a router that runs, prints what the servers' resolvers obey here."""
    assert "imxctl dns inside --for unbound" in PAGE.read_text()
    for name, router in routers.items():
        side = {"prosody": PROSODY, "ejabberd": EJABBERD}[name]
        view = router.client.dns_inside("unbound", "chat", [FREE], [RESOLVER], DIVERTING)
        there = (lab.where / f"resolver-{side.name}" / "xmpp-inside.conf").read_text()
        who = re.compile(r"\n    access-control: \S+ allow")
        assert who.sub("", view["text"]) == there
        assert len(who.findall(view["text"])) == 2


def test_lines_of_the_servers(lab: Edge) -> None:
    """Each line for a server, and each setting of the table, stands in what the servers here have read."""
    prosody = (lab.where / "prosody" / "prosody.cfg.lua").read_text()
    ejabberd = (lab.where / "ejabberd" / "ejabberd.yml").read_text()
    trusted = str(lab.authorities.trusted)
    assert page_block("lua").replace("/etc/prosody/inside-ca.pem", trusted).strip() in prosody
    key, _, value = page_block("yaml").strip().partition(": ")
    assert f'"{key}": "{value.replace("/etc/ejabberd/inside-ca.pem", trusted)}"' in ejabberd
    text = PAGE.read_text()
    for setting, file in (("s2s_timeout = 5", prosody), ('"s2s_max_retry_delay": 1', ejabberd)):
        assert setting in file
        assert setting.replace('"', "") in text
    assert '"limits"' not in prosody


def test_every_proof_of_the_table_is_tried() -> None:
    """The table has a row for each way in which hosts prove themselves here."""
    table = PAGE.read_text().partition("| the server asks for |")[2].partition("\n\n")[0]
    assert table.count("\n| ") - 1 == len(Mode)
