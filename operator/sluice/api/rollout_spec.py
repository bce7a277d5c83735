"""`spec.rollout` of a ModelDeployment: how a new revision is judged and promoted."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import pydantic

from sluice.api import base


class GateRef(base.ApiModel):
    """Names an EvalGate of the same namespace."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=50, description="The EvalGate's name.")]


WEIGHT_PATTERN: Final = r"^(100(\.0{1,2})?|[0-9]{1,2}(\.[0-9]{1,2})?)$"

Weight = Annotated[
    int | str,
    pydantic.Field(
        description='Percent of traffic for the new revision, 0 to 100: an integer, or a string such as "0.5".',
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "maximum": 100,
            "maxLength": 8,
            "pattern": WEIGHT_PATTERN,
        },
    ),
]


class Step(base.ApiModel):
    """One step of a canary: set the weight or the mirror, hold it, pass the gates."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the step; unique among the steps.")]
    weight: Weight | None = None
    mirror: Annotated[
        Weight | None,
        pydantic.Field(
            description=(
                "Percent of the requests that the new revision gets a copy of, above 0 to 100. Its answers are dropped and "
                "measured. Only before the first step with weight."
            ),
            json_schema_extra=base.validations(
                base.cel(
                    f"type(self) == string ? (!{base.matches(WEIGHT_PATTERN)} || double(self) > 0.0) : self > 0",
                    "mirror must be above 0: for a step without traffic set weight: 0",
                )
            ),
        ),
    ] = None
    hold: Annotated[
        base.Duration | None,
        pydantic.Field(
            description="How long the step lasts at least. Default: 0s.",
            json_schema_extra=base.duration_between("hold", "0s", "720h"),
        ),
    ] = None
    gates: Annotated[
        tuple[GateRef, ...] | None,
        pydantic.Field(
            max_length=8,
            description="EvalGates that must pass before the next step. Evals run when the step is entered.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = None

    model_config = pydantic.ConfigDict(json_schema_extra=base.exactly_one("a step", "weight", "mirror"))


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


class Canary(base.ApiModel):
    """Traffic moves to the new revision in steps."""

    steps: Annotated[
        tuple[Step, ...] | None,
        pydantic.Field(
            min_length=1,
            max_length=16,
            description="Steps in order. Default: 5, 25 and 50 percent for 10 minutes each.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = None
    step_deadline: Annotated[
        base.Duration,
        pydantic.Field(
            description="After its hold, how long a step waits for its gates before it is rolled back.",
            json_schema_extra=base.duration_between("stepDeadline", "1s", "720h"),
        ),
    ] = "2h"
    stickiness: Annotated[
        Stickiness | None,
        pydantic.Field(
            description=(
                "Keeps requests with the same value of a header at the same revision: who gets the new one keeps it while the "
                "weight rises. Others are first in each rollout. Unset: every request is drawn anew."
            )
        ),
    ] = None
    override: Annotated[
        Override | None,
        pydantic.Field(
            description="Lets testers ask for the new revision, from the first step with traffic on. Unset: nobody can."
        ),
    ] = None
    shield: Annotated[Shield, pydantic.Field(description="Who answers requests that the new revision fails.")] = Shield()


class Strategy(base.ApiModel):
    """How traffic moves to a new revision."""

    type: Annotated[Literal["Canary"], pydantic.Field(description="Which strategy; the member of the same name configures it.")]
    canary: Annotated[Canary | None, pydantic.Field(description="Settings of the Canary strategy.")] = None


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


class Evidence(base.ApiModel):
    """How sure a verdict must be."""

    false_rollback: Annotated[
        base.Percent,
        pydantic.Field(
            description="Chance that a healthy revision is rolled back, over the whole rollout and all its metrics.",
            json_schema_extra=base.validations(
                base.cel(
                    f"!{base.matches(base.PERCENT_PATTERN)} || "
                    "(double(self.replace('%', '')) > 0.0 && double(self.replace('%', '')) <= 20.0)",
                    'falseRollback must be above "0%" and at most "20%", such as "1%"',
                )
            ),
        ),
    ] = "1%"


class Rollout(base.ApiModel):
    """How a new revision is judged and promoted."""

    strategy: Annotated[Strategy | None, pydantic.Field(description="Default: Canary with its default steps.")] = None
    analysis: Annotated[
        tuple[GateRef, ...] | None,
        pydantic.Field(
            max_length=8,
            description=(
                "EvalGates whose metrics are watched during the whole rollout. Unset: the built-in `default` "
                "(error rate at most one point above the stable revision). An empty list: none."
            ),
            json_schema_extra=base.map_list("name"),
        ),
    ] = None
    evidence: Annotated[Evidence, pydantic.Field(description="How sure a verdict must be.")] = Evidence()
    warmup: Annotated[Warmup, pydantic.Field(description="What each pod of a new revision does before its first weight.")] = (
        Warmup()
    )


def weight_basis_points(weight: int | str) -> int:
    """A step's weight or mirror in hundredths of a percent, 0 to 10000: 5 -> 500, "0.5" -> 50."""
    whole, _, fraction = str(weight).partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0") or 0)


def weight_text(basis_points: int) -> str:
    """The inverse of `weight_basis_points`, without needless decimals: 50 -> "0.5"."""
    whole, rest = divmod(basis_points, 100)
    return str(whole) if not rest else f"{whole}.{rest:02d}".rstrip("0")
