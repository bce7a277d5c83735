"""How requests are shared between two revisions: who gets the new one, who answers for it, and how it is warmed."""

from __future__ import annotations

from typing import Annotated, Final

import pydantic

from sluice.api import base

REVISION_HEADER: Final = "x-sluice-revision"
"""The one header of ours that a client may send."""

HeaderName = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$",
        description="Name of a request header; its case does not matter.",
        json_schema_extra={
            **base.hint("must be letters, digits and dashes, with no dash at either end, such as x-user-id"),
            **base.validations(
                base.cel(
                    f"self.lowerAscii() == '{REVISION_HEADER}' || "
                    "!self.lowerAscii().matches('^(x-sluice-.*|x-envoy-.*|authorization)$')",
                    "gateways take authorization, x-envoy-* and x-sluice-* (but x-sluice-revision) away on arrival: "
                    "choose another header, such as x-user-id",
                )
            ),
        },
    ),
]


class Stickiness(base.ApiModel):
    """Users stay with one revision for the whole rollout."""

    header: Annotated[HeaderName, pydantic.Field(description="Header whose value tells users apart, such as x-user-id.")]


class Override(base.ApiModel):
    """Testers who get the new revision when they ask for it, whatever its weight."""

    header: Annotated[HeaderName, pydantic.Field(description="Header by which a request asks for the new revision.")] = (
        REVISION_HEADER
    )
    value: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=64,
            pattern=r"^[-._A-Za-z0-9]+$",
            description="The header's value.",
            json_schema_extra=base.hint("must be letters, digits and . _ -, such as canary"),
        ),
    ] = "canary"
    clients: Annotated[
        tuple[base.ConfigKey, ...],
        pydantic.Field(
            min_length=1,
            max_length=32,
            description="Clients of the Gateway, by the names of their API keys, that may ask. Others' header has no effect.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ]


class Shield(base.ApiModel):
    """What becomes of requests that the new revision fails before its response begins."""

    enabled: Annotated[
        bool, pydantic.Field(description="Whether the stable revision answers them. False: clients see the failure.")
    ] = True
    max_extra_load: Annotated[
        base.Percent,
        pydantic.Field(
            description=(
                "Most that stable takes over at once, as a share of its own requests in flight. Beyond it failures reach the "
                "client. A handful is always taken over."
            ),
            json_schema_extra=base.validations(
                base.cel(
                    f"!{base.matches(base.PERCENT_PATTERN)} || double(self.replace('%', '')) > 0.0",
                    'maxExtraLoad must be above "0%": to take nothing over set shield.enabled: false',
                )
            ),
        ),
    ] = "20%"


class Warmup(base.ApiModel):
    """What each pod of a new revision does before its first weight."""

    requests: Annotated[
        int,
        pydantic.Field(
            ge=0, le=1000, description="Small completions that each pod answers, straight and without the Gateway. 0: none."
        ),
    ] = 20
    duration: Annotated[
        base.Duration,
        pydantic.Field(
            description="For how long after the first weight latencies are no evidence; errors are from the first.",
            json_schema_extra=base.duration_between("warmup.duration", "0s", "1h"),
        ),
    ] = "30s"
