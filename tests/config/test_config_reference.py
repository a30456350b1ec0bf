"""The generated page and sample are what the code says, and the sample loads in both forms."""

from __future__ import annotations

import re
from pathlib import Path

from imxrouter.config import load
from imxrouter.config.load import Document, parse
from imxrouter.config.reference import SAMPLE, main, page, sample

ROOT = Path(__file__).parents[2]


def test_files_are_current() -> None:
    """What is in the repository equals what the generator makes."""
    assert main(["--check", str(ROOT)]) == 0


def test_check_finds_a_stale_page_and_write_mends_it(tmp_path: Path) -> None:
    """`--check` fails on an empty tree, passes after writing."""
    assert main(["--check", str(tmp_path)]) == 1
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    assert main(["--nonsense"]) == 2


def test_sample_loads() -> None:
    """As it is shipped."""
    assert load(ROOT / SAMPLE).config.domains[0].name == "a.example"


def test_sample_loads_with_every_comment_removed() -> None:
    """Every default and example in it is a legal value; a component is one of a service that it lacks."""
    more = '[[service]]\nname = "chat"\nkind = "xmpp"\n'
    text = re.sub(r"(?m)^#(?! )", "", sample()).replace('role = "gateway"', 'role = "aggregator"')
    config = parse(Document("sample.toml", text + more)).config
    assert config.uplinks[0].name == "hub"
    assert config.peers[0].domain == "partner.example"


def test_every_key_is_described() -> None:
    """No row of the page has an empty meaning."""
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert not [row for row in rows if row.endswith("|  |")]
