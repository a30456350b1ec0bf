"""The page of attacks says what the tests do, of every one."""

import ast
from pathlib import Path

from tests.attacks.table import OUTCOMES, PAGE, PARTS, attacks, page


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
