"""How a test takes one check away.

Each attack runs twice: with every check on, where it must fail, and with its one check replaced, where the
same attack must succeed. The second run shows that the first one fails for the reason it names.
"""

import pytest

#: True: every check is on.
guarded = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "check removed"])
