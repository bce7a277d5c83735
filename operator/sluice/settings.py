"""Typed settings from the environment. Only `__main__` reads them; everything else is given what it needs."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeVar

import pydantic

from sluice.workloads import pod_template, probes

PREFIX: Final = "SLUICE_"


class LeaseSettings(pydantic.BaseModel):
    """Leader election, in seconds."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    duration: Annotated[float, pydantic.Field(gt=0)] = 9.0
    renew_deadline: Annotated[float, pydantic.Field(gt=0)] = 6.0
    retry: Annotated[float, pydantic.Field(gt=0)] = 2.0
    request_timeout: Annotated[float, pydantic.Field(gt=0)] = 1.5
    protect_only_limit: Annotated[float, pydantic.Field(gt=0)] = 600.0

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> LeaseSettings:
        if not self.retry < self.renew_deadline < self.duration:
            raise ValueError(
                f"{PREFIX}LEASE_RETRY must be below {PREFIX}LEASE_RENEW_DEADLINE, and that below {PREFIX}LEASE_DURATION"
            )
        return self


class Settings(pydantic.BaseModel):
    """Everything the operator can be told from outside."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    namespace: str = "sluice-system"
    """Where the operator runs; its CA and Lease are there."""
    pod_name: str
    """Identity in the Lease."""
    watch_namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty: all."""
    kubeconfig: str | None = None
    """Path of a kubeconfig; unset: the pod's ServiceAccount."""
    engine_image: str = "vllm/vllm-openai:v0.33.0"
    envoy_image: str = "envoyproxy/envoy:v1.40.0"
    operator_image: str
    """Image of eval Jobs and of downloads: the operator's own."""
    gpu_resource: str = "nvidia.com/gpu"
    shared_memory: str = "2Gi"
    stall_seconds: Annotated[int, pydantic.Field(ge=10)] = probes.STALL_SECONDS
    """Requests in flight without progress for so long: the engine hangs and is started again."""
    listen_address: str = "0.0.0.0"  # noqa: S104 - a pod serves its own address
    http_port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 8080
    xds_port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 18000
    xds_host: str | None = None
    """Where proxies find the operators; unset: the headless Service `sluice-xds`."""
    workers: Annotated[int, pydantic.Field(ge=1, le=64)] = 4
    scrape_interval: Annotated[float, pydantic.Field(gt=0)] = 1.0
    refresh_interval: Annotated[float, pydantic.Field(gt=0)] = 30.0
    """Seconds between looks at ConfigMaps that are not watched: the sources of files, and `sluice-config`."""
    proxy_gone_after: Annotated[float, pydantic.Field(gt=0)] = 60.0
    stats_port: Annotated[int, pydantic.Field(ge=1, le=65535)] = 9902
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    lease: LeaseSettings = LeaseSettings()
    crash_after_decrease: pathlib.Path | None = None
    """Test hook: end the process once between the push of a decrease and its status write, and leave this file."""
    renderer_mark: str = ""
    """Test hook: render new pod templates with this mark, as a later version of the renderer would render them otherwise."""

    @property
    def xds_address(self) -> str:
        """Host name of the operators as proxies see it; also a DNS name of the operator's certificate."""
        return self.xds_host or f"sluice-xds.{self.namespace}.svc"

    @property
    def defaults(self) -> pod_template.Defaults:
        """What templates may leave unset."""
        return pod_template.Defaults(
            engine_image=self.engine_image,
            gpu_resource=self.gpu_resource,
            shared_memory=self.shared_memory,
            operator_image=self.operator_image,
            stall_seconds=self.stall_seconds,
            renderer_mark=self.renderer_mark,
        )


class MetricsSettings(pydantic.BaseModel):
    """Everything `sluice metrics` can be told from outside."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    namespace: str = "sluice-system"
    """Where its Service is: the operator's namespace."""
    watch_namespaces: tuple[str, ...] = ()
    """Namespaces whose pods it reads; empty: all."""
    kubeconfig: str | None = None
    """Path of a kubeconfig; unset: the pod's ServiceAccount."""
    listen_address: str = "0.0.0.0"  # noqa: S104 - a pod serves its own address
    http_port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 8080
    api_port: Annotated[int, pydantic.Field(ge=0, le=65535)] = 10250
    """Of the API itself. Some control planes reach pods on 10250 and 443 only."""
    certificate_directory: pathlib.Path = pathlib.Path("/etc/sluice/metrics-tls")
    """Where the Secret `sluice-metrics-tls` is mounted."""
    scrape_seconds: Annotated[float, pydantic.Field(gt=0)] = 15.0
    """Between two readings of a pod."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def metrics_from_environment(environment: Mapping[str, str]) -> MetricsSettings:
    """Settings of `sluice metrics` from `SLUICE_…` variables. Raises ValueError as `from_environment` does."""
    return _validated(MetricsSettings, _values(environment, MetricsSettings))


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings from `SLUICE_…` variables; lease times are `SLUICE_LEASE_…`.

    Raises:
        ValueError: a variable has a value that can't be used; the message names the variable.
    """
    values = _values(environment, Settings)
    lease = {
        name.removeprefix(PREFIX + "LEASE_").lower(): text
        for name, text in environment.items()
        if name.startswith(PREFIX + "LEASE_")
    }
    return _validated(Settings, values | ({"lease": lease} if lease else {}))


_Read = TypeVar("_Read", bound=pydantic.BaseModel)


def _values(environment: Mapping[str, str], model: type[pydantic.BaseModel]) -> dict[str, object]:
    """The variables that the model has fields for."""
    values: dict[str, object] = {}
    for variable, text in environment.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name not in model.model_fields:
            continue
        lists = name == "watch_namespaces"
        values[name] = tuple(part.strip() for part in text.split(",") if part.strip()) if lists else text
    return values


def _validated(model: type[_Read], values: Mapping[str, object]) -> _Read:
    try:
        return model.model_validate(values)
    except pydantic.ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(str(part) for part in detail['loc']).upper()}: {detail['msg']}" for detail in error.errors()
        )
        raise ValueError(f"Cannot read settings: {problems}") from error
