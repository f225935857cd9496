import doctest
import random

from hypothesis import given
from hypothesis import strategies as st

from fogline import backoff
from fogline.backoff import Backoff


def test_doctests() -> None:
    assert doctest.testmod(backoff).failed == 0


@given(attempt=st.integers(0, 10_000), seed=st.integers(0, 100))
def test_delays_stay_inside_their_bounds(attempt: int, seed: int) -> None:
    policy = Backoff(base_s=1, cap_s=600)
    source = random.Random(seed).random
    ceiling = policy.ceiling(attempt)
    assert 0 <= policy.full(attempt, source) <= ceiling <= 600
    assert ceiling <= policy.late(attempt, source) <= 600
