"""The order of targets and addresses."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from imxrouter.discovery.order import interleave, trial_order, weighted_order
from imxrouter.discovery.records import Form, Target

hosts = st.sampled_from([f"r{n}.example" for n in range(20)])
targets = st.lists(
    st.builds(Target, hosts, st.integers(1, 3), st.integers(0, 3), st.integers(0, 100)), max_size=12
)


class Fixed:
    """Chance that gives the same number always."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        """Return the number."""
        return self.value


@given(targets, st.sampled_from(Form), st.integers())
def test_order_is_a_permutation_sorted_by_priority(drawn: list[Target], form: Form, seed: int) -> None:
    """Nothing is lost, nothing twice, lower priority first; the same chance gives the same order."""
    ordered = trial_order(drawn, form, random.Random(seed))
    assert Counter(ordered) == Counter(drawn)
    assert [target.priority for target in ordered] == sorted(target.priority for target in drawn)
    assert ordered == trial_order(drawn, form, random.Random(seed))


@given(st.lists(st.integers(0, 65535), max_size=20), st.sampled_from([0.0, 0.5, 1 - 2**-53]))
def test_edges_of_chance_are_in_range(weights: list[int], value: float) -> None:
    """The ends of [0, 1) index nothing outside."""
    assert sorted(weighted_order(weights, Fixed(value))) == list(range(len(weights)))


def test_equals_share_alike() -> None:
    """Each of three equal targets comes first about a third of the time, whatever stands in `weight`."""
    three = [Target(f"r{n}.example", weight=n * 50) for n in range(3)]
    chance = random.Random(1)
    first = Counter(trial_order(three, Form.IMX, chance)[0].host for _ in range(3000))
    assert all(900 < first[target.host] < 1100 for target in three)


def test_weights_share_as_said() -> None:
    """1 to 3, as RFC 2782 wants."""
    chance = random.Random(1)
    first = Counter(weighted_order([25, 75], chance)[0] for _ in range(4000))
    assert 900 < first[0] < 1100


def test_weight_zero_keeps_a_small_chance() -> None:
    """A target of weight 0 beside 99 comes first in about 1 of 100 draws."""
    chance = random.Random(1)
    first = Counter(weighted_order([99, 0], chance)[0] for _ in range(20000))
    assert 120 < first[1] < 290


def test_all_zero_weights_share_alike() -> None:
    """Without weights SRV is as IMX."""
    chance = random.Random(1)
    first = Counter(weighted_order([0, 0], chance)[0] for _ in range(2000))
    assert 900 < first[0] < 1100


def test_families_take_turns() -> None:
    """RFC 8305: IPv6 first, then one of each; the cap counts the mixture."""
    assert interleave(["2001:db8::1", "2001:db8::2"], ["192.0.2.1"], limit=8) == [
        "2001:db8::1",
        "192.0.2.1",
        "2001:db8::2",
    ]
    assert interleave([], ["192.0.2.1", "192.0.2.1"], limit=8) == ["192.0.2.1"]
    assert len(interleave(["::1"] * 1, [f"192.0.2.{n}" for n in range(20)], limit=8)) == 8
