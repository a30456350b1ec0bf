"""The page of limits says what the code does, and every key that bounds something is on it."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import fields

from imxrouter.config.limits_page import BEGIN, PAGE, main, table
from imxrouter.config.reference import tables
from imxrouter.model.limits import LIMIT_BY_WORD, Limit
from imxrouter.model.vocabulary import Stage

ROOT = Path(__file__).parents[2]
#: Of [caps] and [limits], what says how something is told or done and bounds nothing by itself.
NO_LIMITS = {"limits.attribute_age_s", "limits.traffic_burst_s"}


def test_the_page_is_current(tmp_path: Path) -> None:
    """And a page that is not is found, and mended."""
    assert main(["--check", str(ROOT)]) == 0
    assert main(["--check", str(tmp_path)]) == 1
    assert main([str(tmp_path)]) == 0
    assert table() in (tmp_path / PAGE).read_text()
    assert (ROOT / PAGE).read_text().count(BEGIN) == 1


def test_every_key_of_the_configuration_that_limits_is_named() -> None:
    """Each key of [caps], [limits] and [overload], and each named key exists."""
    known = {f"{path}.{info.encode_name}" for path, _, section in tables() for info in fields(section)}
    named = {key for limit in Limit for key in limit.value.keys}
    assert named - known == set()
    bounding = {key for key in known if key.split(".")[0] in {"caps", "limits", "overload"}}
    bounding -= {key for key in bounding if key.count(".") > 1}
    assert bounding - named - NO_LIMITS == {"limits.tenants"} - named


def test_every_limit_has_a_name_and_an_answer_of_its_stage() -> None:
    """Words are unique; but for proofs and hellos the answers are of the stage `limit`."""
    assert len(LIMIT_BY_WORD) == len(Limit)
    others = {limit.word for limit in Limit if limit.reason.stage is not Stage.LIMIT}
    assert others == {"silent", "unproved"}
    assert all(limit.value.keys or limit.value.fixed for limit in Limit)
