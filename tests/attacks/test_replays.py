"""Messages and ids that come again (specification 7.1, 8.2)."""

from collections.abc import Iterator
from typing import Any

from imxrouter.model.vocabulary import Reason
from imxrouter.switch.checks import Checks
from tests.attacks.seams import guarded
from tests.doubles.raw_peer import text_message
from tests.doubles.router_rig import Lab


class _ById(dict[bytes, Any]):
    """A duplicate memory that goes by the id alone."""

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and super().__contains__(key[:16])

    def __getitem__(self, key: bytes) -> Any:
        return super().__getitem__(key[:16])

    def __setitem__(self, key: bytes, value: Any) -> None:
        super().__setitem__(key[:16], value)

    def get(self, key: bytes, default: Any = None) -> Any:
        """The entry of the id."""
        return super().get(key[:16], default)

    def pop(self, key: bytes, *default: Any) -> Any:
        """Take it out."""
        return super().pop(key[:16], *default)

    def __iter__(self) -> Iterator[bytes]:
        return super().__iter__()


@guarded
def test_message_again_over_another_link(lab: Lab, guarded: bool) -> None:
    """One message comes over two links of its domain. Check: its key is remembered, whatever link it used."""
    b, a = lab.router("b.example", checks=Checks(duplicates=guarded)), lab.organisation("a.example")
    message = text_message("alice@a.example", "bob@b.example", "pay 10", 7)
    for _ in range(2):
        link = a.proved_link(b)
        link.send(message)
        assert link.outcome().ok
    assert len(b.inbox("bob@b.example")) == (1 if guarded else 2)


@guarded
def test_id_with_another_content(lab: Lab, guarded: bool) -> None:
    """An id is used for a second content. Check: a digest of type and body stands beside the key."""
    b, a = lab.router("b.example", checks=Checks(duplicates=guarded)), lab.organisation("a.example")
    link = a.proved_link(b)
    link.send(text_message("alice@a.example", "bob@b.example", "pay 10", 7))
    assert link.outcome().ok
    link.send(text_message("alice@a.example", "bob@b.example", "pay 1000", 7))
    outcome = link.outcome()
    assert outcome.reason is (Reason.ID_REUSED if guarded else Reason.NONE)
    assert len(b.inbox("bob@b.example")) == (1 if guarded else 2)


@guarded
def test_id_used_up_by_another(lab: Lab, guarded: bool) -> None:
    """Mallory has seen the id of a message that is under way, and uses it first, so that it is refused.

    Check: an id counts together with both addresses, and the sender's domain was proved.
    """
    b, a, m = lab.router("b.example"), lab.organisation("a.example"), lab.organisation("m.example")
    if not guarded:
        b.router.switch.memory.seen = _ById()
    fast = m.proved_link(b)
    fast.send(text_message("mallory@m.example", "bob@b.example", "first", 7))
    assert fast.outcome().ok
    link = a.proved_link(b)
    link.send(text_message("alice@a.example", "bob@b.example", "mine", 7))
    assert link.outcome().reason is (Reason.NONE if guarded else Reason.ID_REUSED)
    assert len(b.inbox("bob@b.example")) == (2 if guarded else 1)
