"""What one test found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """A test's statistic and p-value; p = 1 where there was nothing to test."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    statistic: float
    p_value: float


NOTHING = TestOutcome(0.0, 1.0)
