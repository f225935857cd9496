"""How often the proof of a small loss is wrong, against scipy and thousands of draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from fogline_hub.optimize.choice import (
    FAMILY,
    Earning,
    Measurement,
    Timing,
    choose,
    front,
    judge,
    with_evidence,
)
from fogline_hub.optimize.evidence import flip_bound, mean_bound, rows_needed
from fogline_hub.optimize.observed import Observation, with_observed
from fogline_hub.optimize.profile import HOST, profile_names, read_profile
from fogline_hub.optimize.quality import Quality

DRAWS = 20_000


@given(rows=st.integers(1, 5000), share=st.floats(0, 1), alpha=st.floats(1e-4, 0.5))
def test_the_bound_of_flips_is_scipy_s_exact_one(rows: int, share: float, alpha: float) -> None:
    flips = min(int(share * rows), rows)
    bound = flip_bound(flips, rows, alpha)
    exact = binomtest(flips, rows, alternative="less").proportion_ci(1 - alpha, method="exact")
    assert bound == pytest.approx(exact.high, abs=1e-9)


@pytest.mark.parametrize("rows", [600, 1200, 5000])
def test_a_share_just_beyond_the_allowance_is_rarely_proven(rows: int) -> None:
    alpha, allowed = 0.05, 0.005
    flips = np.random.default_rng(rows).binomial(rows, allowed, size=DRAWS)
    bounds = {f: flip_bound(f, rows, alpha) for f in set(flips.tolist())}
    wrong = np.mean([bounds[f] <= allowed for f in flips.tolist()])
    # The true rate is a binomial's tail, never above alpha; the draws stray by four deviations.
    passing = max((f for f, b in bounds.items() if b <= allowed), default=-1)
    assert binom.cdf(passing, rows, allowed) <= alpha
    assert wrong <= alpha + 4 * np.sqrt(alpha * (1 - alpha) / DRAWS)


def test_a_family_of_bad_variants_has_one_error_rate() -> None:
    rows, allowed, earning = 3000, 0.005, Earning()
    random = np.random.default_rng(0)
    flips = random.binomial(rows, allowed, size=(DRAWS, FAMILY))
    bounds = {f: flip_bound(f, rows, earning.alpha / FAMILY) for f in np.unique(flips).tolist()}
    passed = np.vectorize(lambda f: bounds[f] <= allowed)(flips)
    assert passed.any(axis=1).mean() <= earning.alpha
    alone = {f: flip_bound(f, rows, earning.alpha) for f in bounds}
    uncorrected = np.vectorize(lambda f: alone[f] <= allowed)(flips).any(axis=1).mean()
    assert uncorrected > earning.alpha


@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_means_of_losses_are_wrong_about_as_often_as_they_say(kind: str) -> None:
    random = np.random.default_rng(1)
    shape = (4000, 400)
    draws = random.normal(1, 1, shape) if kind == "normal" else random.gamma(1.0, 1.0, shape)
    means, deviations = draws.mean(axis=1), draws.std(axis=1, ddof=1)
    bounds = [mean_bound(m, s, 400, 0.05) for m, s in zip(means, deviations, strict=True)]
    # Skewed losses make the bound a little too small; the docstring says so.
    assert np.mean(np.array(bounds) < 1.0) <= (0.06 if kind == "normal" else 0.08)


@given(allowed=st.floats(1e-3, 0.2), alpha=st.floats(1e-3, 0.2))
def test_the_rows_that_are_asked_for_are_enough_and_no_more(allowed: float, alpha: float) -> None:
    rows = rows_needed(allowed, alpha)
    assert flip_bound(0, rows, alpha) <= allowed * (1 + 1e-9)
    assert rows == 1 or flip_bound(0, rows - 1, alpha) > allowed * (1 - 1e-9)


def _one(name: str, *, size: int, rows: int = 5000, flips: int = 0) -> Measurement:
    quality = Quality(
        rows=rows, metric="accuracy", value=0.9, loss=0.0, has_labels=True, label_flips=flips
    )
    return Measurement(
        name=name,
        precision=name,
        size_bytes=size,
        sha256="a" * 64,
        timing=Timing(p10=95, p50=100, p90=110, runs=10),
        peak_memory_bytes=60 * 2**20,
        quality=quality,
    )


def _decided(*others: Measurement) -> list[Measurement]:
    earning = Earning()
    base = with_evidence(_one("base", size=1000), earning, is_base=True)
    found = [base]
    for one in others:
        rated = with_evidence(one, earning)
        is_kept, reason = judge(base, rated, earning)
        found.append(
            Measurement(
                **{f: getattr(rated, f) for f in rated.__struct_fields__}
                | {"is_kept": is_kept, "reason": reason}
            )
        )
    return found


def test_what_flips_beyond_the_allowance_is_never_chosen_however_small() -> None:
    found = _decided(_one("tiny", size=10, flips=26), _one("half", size=500, flips=2))
    assert choose(found, read_profile(HOST), Earning()).name == "half"


def test_too_few_rows_prove_nothing_and_the_choice_says_how_many_would() -> None:
    found = _decided(_one("half", size=500, rows=300))
    assert found[1].is_kept
    assert found[1].evidence == "unproven"
    assert choose(found, read_profile(HOST), Earning()).name == "base"
    assert choose(found, read_profile(HOST), Earning(accept_unproven=True)).name == "half"


def test_nothing_fits_names_the_nearest_miss() -> None:
    device = read_profile(HOST)
    small = type(device)(name="tiny", about="", architecture="", flash_bytes=400)
    choice = choose(_decided(_one("half", size=500)), small, Earning())
    assert choice.name == ""
    assert choice.nearest == "half"
    assert choice.misses == ("flash: 500 bytes, 400 allowed",)


def test_a_front_holds_what_no_other_beats() -> None:
    found = _decided(_one("half", size=500), _one("third", size=300, flips=3))
    assert front(found) == ("half", "third")


def test_live_devices_decide_over_estimates() -> None:
    device = type(read_profile(HOST))(
        name="board", about="", architecture="aarch64", latency_us=200.0, peak_gflops_per_core=8.0
    )
    base, half = _decided(_one("half", size=500))
    seen = Observation(sha256="a" * 64, profile="board", latency_us=300.0)
    told = [with_observed(m, "board", [seen]) for m in (base, half)]
    assert told[0].observed_us == 300.0
    assert choose(told, device, Earning()).name == ""
    assert with_observed(base, "other", [seen]).observed_us is None


@pytest.mark.parametrize("name", profile_names())
def test_each_profile_is_named_as_its_file_and_cites_its_facts(name: str) -> None:
    profile = read_profile(name)
    assert profile.name == name
    assert profile.sources
