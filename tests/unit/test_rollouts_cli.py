import pytest

from fogline.errors import InvalidInput
from fogline_hub.cli.rollouts import deploy, rollout

DEPLOY = ("rain@3", "--group", "roof")


@pytest.mark.parametrize("seconds", ["nan", "0", "-1"])
def test_a_time_limit_that_would_never_end_or_has_ended_is_refused(seconds: str) -> None:
    with pytest.raises(InvalidInput, match="--timeout"):
        rollout(["watch", "1", f"--timeout={seconds}"])
    with pytest.raises(InvalidInput, match="--timeout"):
        deploy([*DEPLOY, "--wait", f"--timeout={seconds}"])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--capture", "speed=1"), "unknown field `speed`"),
        (("--capture", "sample_rate"), "write KEY=VALUE"),
        (("--capture", "sample_rate=nan"), "sample_rate"),
        (("--capture", "max_rows_per_hour=-5"), "max_rows_per_hour"),
        (("--wave", "soak_s=1e999"), "soak_s"),
        (("--wave", "max_failures=" + "9" * 400), "max_failures"),
        (("--waves", "50%"), "the last wave must be 100%"),
        (("--waves", "9" * 400 + ",100%"), "neither a number of devices nor a percentage"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_by_name(words: tuple[str, ...], why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        deploy([*DEPLOY, *words])
    assert len(str(refused.value)) < 300
