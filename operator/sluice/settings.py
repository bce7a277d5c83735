"""Typed settings from the environment. Only `__main__` reads them; everything else is given what it needs."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal

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


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings from `SLUICE_…` variables; lease times are `SLUICE_LEASE_…`.

    Raises:
        ValueError: a variable has a value that can't be used; the message names the variable.
    """
    values: dict[str, object] = {}
    lease: dict[str, str] = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name.startswith("lease_"):
            lease[name.removeprefix("lease_")] = text
        elif name == "watch_namespaces":
            values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
        elif name in Settings.model_fields:
            values[name] = text
    if lease:
        values["lease"] = lease
    try:
        return Settings.model_validate(values)
    except pydantic.ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{'_'.join(str(part) for part in detail['loc']).upper()}: {detail['msg']}" for detail in error.errors()
        )
        raise ValueError(f"Cannot read settings: {problems}") from error
