"""The figures of the benchmark of autoscaling from what it recorded: by the definitions that are published with them."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.bench import autoscale, autoscale_figures


def seen(**changes: object) -> autoscale_figures.Seen:
    """One pod, load at 100 to 200, three pods from 130 on, and one at 280."""
    given: dict[str, object] = {
        "replicas": [(0.0, 1.0), (130.0, 3.0), (265.0, 2.0), (280.0, 1.0)],
        "ready": [(0.0, 1.0), (160.0, 3.0)],
        "samples": [(10.0, 0.0), (115.0, 24.0), (205.0, 12.0), (220.0, 0.0)],
        "queue": [(10.0, 0.0), (110.0, 24.0), (210.0, 0.0)],
        "load": (100.0, 200.0),
        **changes,
    }
    return autoscale_figures.Seen(target=10.0, window=50.0, **given)  # type: ignore[arg-type]


def test_figures() -> None:
    """Sizes before, at most and after; the largest queue; syncs to the rise; and the window that was kept."""
    found = autoscale_figures.figures(seen())
    assert (found["replicas_before"], found["replicas_peak"], found["replicas_after"]) == (1, 3, 1)
    assert (found["peak_queue"], found["periods_to_scale"], found["cooldown_kept"]) == (24.0, 1, True)
    assert (found["load_to_rise_seconds"], found["last_above_to_fall_seconds"]) == (30.0, 60.0)


@pytest.mark.parametrize(("rise", "periods"), [(114.9, 0), (115.0, 0), (115.1, 1), (130.0, 1), (130.1, 2), (145.1, 3)])
def test_periods_are_rounded_up(rise: float, periods: int) -> None:
    """From the first sample above the target; a rise before its own sample is written is in the same sync."""
    assert autoscale_figures.figures(seen(replicas=[(0.0, 1.0), (rise, 3.0), (280.0, 1.0)]))["periods_to_scale"] == periods


@pytest.mark.parametrize(
    ("replicas", "kept", "reason"),
    [
        ([(0.0, 1.0), (130.0, 3.0), (254.9, 1.0)], False, "within the window of the last sample above the target"),
        ([(0.0, 1.0), (130.0, 3.0), (255.0, 1.0)], True, "at its end"),
        ([(0.0, 1.0), (130.0, 3.0), (180.0, 2.0), (280.0, 1.0)], False, "while samples are above the target"),
        ([(0.0, 1.0), (130.0, 3.0)], False, "nothing fell, so nothing is shown"),
    ],
)
def test_cooldown(replicas: autoscale_figures.Series, kept: bool, reason: str) -> None:
    """No decrease within the window of the last sample above the target."""
    assert autoscale_figures.figures(seen(replicas=replicas))["cooldown_kept"] is kept, reason


@pytest.mark.parametrize("changes", [{"replicas": [(0.0, 1.0)]}, {"samples": [(10.0, 0.0)]}])
def test_nothing_to_judge_is_an_error(changes: dict[str, autoscale_figures.Series]) -> None:
    """A run in which nothing happened must not pass for one in which all was well."""
    with pytest.raises(ValueError, match="Cannot judge autoscaling"):
        autoscale_figures.figures(seen(**changes))


def test_chart_is_a_picture_of_all_series() -> None:
    """Well-formed, with a path for each line and nothing outside of it."""
    root = ET.fromstring(autoscale.draw(seen(), "simulator"))
    paths = root.findall("{http://www.w3.org/2000/svg}path")
    assert len(paths) == 4
    assert all(path.get("d", "").startswith("M") for path in paths)
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"load", "no fall allowed", "target 10", "Pods"} <= set(texts)
