"""Settings: every variable has an effect or an error that names it."""

from __future__ import annotations

import pytest

from sluice import settings

NEEDED = {"SLUICE_POD_NAME": "replica", "SLUICE_OPERATOR_IMAGE": "operator:1"}


def test_defaults() -> None:
    """Only what has no sensible default must be given."""
    made = settings.from_environment(NEEDED)
    assert made.namespace == "sluice-system"
    assert made.watch_namespaces == ()
    assert made.xds_address == "sluice-xds.sluice-system.svc"
    assert made.crash_after_decrease is None
    assert made.renderer_mark == ""


def test_values_are_typed() -> None:
    """Numbers, lists and lease times come out as such; other programs' variables are none of ours."""
    made = settings.from_environment(
        {
            **NEEDED,
            "SLUICE_WATCH_NAMESPACES": "a, b,,",
            "SLUICE_WORKERS": "2",
            "SLUICE_LEASE_DURATION": "30",
            "SLUICE_LEASE_REQUEST_TIMEOUT": "0.5",
            "SLUICE_XDS_HOST": "xds.example",
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        }
    )
    assert made.watch_namespaces == ("a", "b")
    assert made.workers == 2
    assert (made.lease.duration, made.lease.request_timeout) == (30.0, 0.5)
    assert made.xds_address == "xds.example"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SLUICE_WORKERS", "many"),
        ("SLUICE_WORKERS", "0"),
        ("SLUICE_HTTP_PORT", "70000"),
        ("SLUICE_SCRAPE_INTERVAL", "0"),
        ("SLUICE_LEASE_DURATION", "soon"),
        ("SLUICE_LEASE_TYPO", "1"),
        ("SLUICE_LOG_LEVEL", "LOUD"),
        ("SLUICE_LEASE_RETRY", "100"),
    ],
)
def test_errors_name_the_variable(variable: str, text: str) -> None:
    """A value that can't be used is refused with its variable's name."""
    with pytest.raises(ValueError, match=variable):
        settings.from_environment({**NEEDED, variable: text})


@pytest.mark.parametrize("variable", sorted(NEEDED))
def test_missing_variables_are_named(variable: str) -> None:
    """What has no default and is not given is named."""
    with pytest.raises(ValueError, match=variable):
        settings.from_environment({name: value for name, value in NEEDED.items() if name != variable})


def test_defaults_of_templates_come_from_settings() -> None:
    """What templates leave unset is the operator's to say."""
    made = settings.from_environment({**NEEDED, "SLUICE_ENGINE_IMAGE": "e:1", "SLUICE_SHARED_MEMORY": "4Gi"}).defaults
    assert made.to_json() == {
        "engine_image": "e:1",
        "gpu_resource": "nvidia.com/gpu",
        "operator_image": "operator:1",
        "shared_memory": "4Gi",
        "stall_seconds": "120",
    }


def test_the_metrics_server_has_settings_of_its_own() -> None:
    """It needs none, and those of the operator are none of its business."""
    assert settings.metrics_from_environment({}).api_port == 10250
    made = settings.metrics_from_environment(
        {**NEEDED, "SLUICE_API_PORT": "443", "SLUICE_WATCH_NAMESPACES": "a,b", "SLUICE_METRICS_PORT": "tcp://10.0.0.1:443"}
    )
    assert (made.api_port, made.watch_namespaces) == (443, ("a", "b"))


@pytest.mark.parametrize(("variable", "text"), [("SLUICE_API_PORT", "0x"), ("SLUICE_SCRAPE_SECONDS", "0")])
def test_errors_of_the_metrics_server_name_the_variable(variable: str, text: str) -> None:
    """As those of the operator do."""
    with pytest.raises(ValueError, match=variable):
        settings.metrics_from_environment({variable: text})
