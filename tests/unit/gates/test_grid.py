"""Bounds that latencies are counted by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.gates import grid


def bin_of(milliseconds: int) -> int:
    """The lower end of the two-digit bin that Envoy's histogram puts a value into."""
    width: int = 10 ** max(len(str(milliseconds)) - 2, 0)
    return milliseconds // width * width


@given(st.integers(0, 700_000), st.sampled_from(grid.BOUNDS))
def test_envoys_bucket_holds_exactly_what_is_below_the_bound(milliseconds: int, bound: int) -> None:
    """A bucket of Envoy counts the bins that begin at its bound or below."""
    bucket = grid.ENVOY_BUCKETS[grid.BOUNDS.index(bound)]
    assert (bin_of(milliseconds) <= bucket) == (milliseconds < bound)


def test_the_grid_is_from_1_ms_to_600_s_and_rises() -> None:
    """Envoy refuses buckets that do not rise."""
    assert (grid.BOUNDS[0], grid.BOUNDS[-1], len(grid.BOUNDS)) == (1, 600_000, 113)
    assert all(low < high for low, high in zip(grid.ENVOY_BUCKETS, grid.ENVOY_BUCKETS[1:], strict=False))


@pytest.mark.parametrize("ratio", [1.1, 1.2, 1.5, 2.0])
def test_each_ratio_has_exact_pairs_in_every_decade(ratio: float) -> None:
    """A relative limit finds a q near any percentile whose multiple is a bound too."""
    for power in range(1, 5):
        pairs = [b for b in grid.BOUNDS if 10**power <= b < 10 ** (power + 1) and round(b * ratio, 6) in grid.BOUNDS]
        assert len(pairs) >= 4, power


@pytest.mark.parametrize(
    ("value", "expected"), [(800, (800,)), (825, (800, 880)), (0.5, (1,)), (700_000, (600_000,)), (600_000, (600_000,))]
)
def test_the_nearest_bounds_of_a_wish(value: float, expected: tuple[int, ...]) -> None:
    """A wish off the grid has one neighbour on each side, as far as the grid goes."""
    assert grid.nearest(value, grid.BOUNDS) == expected


@pytest.mark.parametrize(("value", "expected"), [(800, "800ms"), (1000, "1s"), (1500, "1500ms"), (600_000, "600s")])
def test_bounds_read_as_durations(value: float, expected: str) -> None:
    """A user can copy what a message names."""
    assert grid.text(value) == expected
