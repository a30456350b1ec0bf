"""The page of attacks says what the tests do, of every one."""

import ast
import re
from pathlib import Path

from imxrouter.gateways.xmpp.names import Condition
from tests.attacks.table import OUTCOMES, PAGE, PARTS, STREAM_ERRORS, attacks, page


def test_the_page_is_what_the_tests_say() -> None:
    """`python -m tests.attacks.table` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_attack_has_a_row() -> None:
    """A test that takes a check away names it, and its file has a part."""
    listed = {one.test for part in PARTS for one in attacks(part)}
    assert listed == set(OUTCOMES)
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for one in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(one, ast.FunctionDef) and "guarded" in map(ast.unparse, one.decorator_list):
                assert one.name in listed, f"{path.name}: {one.name} does not say what its check is"


def test_every_stream_error_is_the_defined_one() -> None:
    """What ends a stream is a condition of RFC 6120, listed with its section, and no other is."""
    words = " ".join(outcome for outcome, _ in OUTCOMES.values())
    named = set(re.findall(r"stream error `([a-z-]+)`", words))
    defined = {one.value for one in Condition}
    assert named <= set(STREAM_ERRORS) <= defined
    components = {"conflict", "invalid-from", "not-authorized"}
    assert set(STREAM_ERRORS) == named | components
