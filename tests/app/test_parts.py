"""What a router keeps of what it was made from."""

from __future__ import annotations

import gc
from pathlib import Path

from twisted.internet import reactor

from imxrouter.app.router import Router
from imxrouter.config.load import Document, parse
from imxrouter.config.schema import Config


def test_the_tables_of_the_file_are_let_go(tmp_path: Path) -> None:
    """100,000 [[domain]] tables are 30 MB, and `domains` has what they say."""
    text = (
        f'name = "im.a.example"\nstate_dir = "{tmp_path}/state"\nrun_dir = "{tmp_path}"\n'
        '[[service]]\nname = "home"\nkind = "embedded"\nusers = ["alice"]\n'
        '[[domain]]\nname = "let-go.example"\nservice = "home"\n'
    )
    router = Router(parse(Document(str(tmp_path / "router.toml"), text)).config, reactor)
    assert len(router.domains) == 1
    gc.collect()
    kept = [one for one in gc.get_objects() if isinstance(one, Config) and one.domains]
    assert not [one for one in kept if one.domains[0].name == "let-go.example"]
