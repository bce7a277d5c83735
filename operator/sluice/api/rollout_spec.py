"""`spec.rollout` of a ModelDeployment: how a new revision is judged and promoted."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import pydantic

from sluice.api import base, traffic_spec


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


class Approval(base.ApiModel):
    """A person has to approve before the next step."""

    timeout: Annotated[
        base.Duration,
        pydantic.Field(
            description="How long an approval is waited for, once the step's hold is over and its gates have passed.",
            json_schema_extra=base.duration_between("timeout", "1s", "8760h"),
        ),
    ] = "72h"
    on_timeout: Annotated[
        Literal["Rollback", "Hold"], pydantic.Field(description="What follows when nobody approved in that time.")
    ] = "Rollback"


class Step(base.ApiModel):
    """One step of a canary: set the weight or the mirror, hold it, pass the gates, get an approval."""

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
    approval: Annotated[
        Approval | None, pydantic.Field(description="A person has to approve before the next step. Unset: nobody.")
    ] = None

    model_config = pydantic.ConfigDict(json_schema_extra=base.exactly_one("a step", "weight", "mirror"))


class Capacity(base.ApiModel):
    """How many pods the new revision has. The stable one keeps all of its own until the rollout ends."""

    mode: Annotated[
        Literal["Proportional", "Full"],
        pydantic.Field(
            description="Proportional: as many as its share of the traffic needs, ready before the share rises. "
            "Full: all of them before the first weight."
        ),
    ] = "Proportional"
    max_extra_replicas: Annotated[
        int | None,
        pydantic.Field(
            ge=1,
            le=1000,
            description="Most pods of the new revision beside those of the stable one. A rollout that needs more waits "
            "with the reason CapacityBudget. Unset: as many as it takes.",
        ),
    ] = None


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
    capacity: Annotated[Capacity | None, pydantic.Field(description="Default: Proportional, without a bound.")] = None
    step_deadline: Annotated[
        base.Duration,
        pydantic.Field(
            description="After its hold, how long a step waits for its gates; onInconclusive says what follows then.",
            json_schema_extra=base.duration_between("stepDeadline", "1s", "720h"),
        ),
    ] = "2h"
    on_inconclusive: Annotated[
        Literal["Hold", "Rollback"],
        pydantic.Field(
            description="What follows when a gate is still inconclusive at the step's deadline. Hold waits for a person."
        ),
    ] = "Hold"
    stickiness: Annotated[
        traffic_spec.Stickiness | None,
        pydantic.Field(
            description=(
                "Keeps requests with the same value of a header at the same revision: who gets the new one keeps it while the "
                "weight rises. Others are first in each rollout. Unset: every request is drawn anew."
            )
        ),
    ] = None
    override: Annotated[
        traffic_spec.Override | None,
        pydantic.Field(
            description="Lets testers ask for the new revision, from the first step with traffic on. Unset: nobody can."
        ),
    ] = None
    shield: Annotated[traffic_spec.Shield, pydantic.Field(description="Who answers requests that the new revision fails.")] = (
        traffic_spec.Shield()
    )


class BlueGreen(base.ApiModel):
    """The new revision stands beside the serving one, whole and without traffic, until it gets all of it at once."""

    gates: Annotated[
        tuple[GateRef, ...] | None,
        pydantic.Field(
            max_length=8,
            description="EvalGates whose evals must pass before the traffic moves.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = None
    hold: Annotated[
        base.Duration | None,
        pydantic.Field(
            description="How long the new revision stands at least before the traffic moves. Default: 0s.",
            json_schema_extra=base.duration_between("hold", "0s", "720h"),
        ),
    ] = None
    approval: Annotated[
        Approval | None, pydantic.Field(description="A person has to approve before the traffic moves. Unset: nobody.")
    ] = None
    step_deadline: Annotated[
        base.Duration,
        pydantic.Field(
            description="How long the gates are waited for; onInconclusive says what follows then.",
            json_schema_extra=base.duration_between("stepDeadline", "1s", "720h"),
        ),
    ] = "2h"
    on_inconclusive: Annotated[
        Literal["Hold", "Rollback"],
        pydantic.Field(description="What follows when a gate is still inconclusive at the deadline. Hold waits for a person."),
    ] = "Hold"


class Strategy(base.ApiModel):
    """How traffic moves to a new revision."""

    type: Annotated[
        Literal["Canary", "BlueGreen", "Recreate"],
        pydantic.Field(
            description="Which strategy; the member of the same name configures it. Recreate needs no spare GPUs: the serving "
            "revision leaves before the new one starts, and nothing serves meanwhile."
        ),
    ]
    canary: Annotated[Canary | None, pydantic.Field(description="Settings of the Canary strategy.")] = None
    blue_green: Annotated[BlueGreen | None, pydantic.Field(description="Settings of the BlueGreen strategy.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "(!has(self.canary) || self.type == 'Canary') && (!has(self.blueGreen) || self.type == 'BlueGreen')",
                "strategy has settings of another type than its own: remove them, or change strategy.type",
            )
        )
    )


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


class Bake(base.ApiModel):
    """How long the revision before stays warm after a promotion, so that going back costs a weight change."""

    duration: Annotated[
        base.Duration,
        pydantic.Field(
            description="How long. Metrics with absolute limits are watched meanwhile.",
            json_schema_extra=base.duration_between("duration", "1s", "720h"),
        ),
    ]


class RollbackWindow(base.ApiModel):
    """A spec that goes back to a revision that was promoted lately skips the steps."""

    revisions: Annotated[
        int, pydantic.Field(ge=0, le=20, description="How many of the revisions that were promoted last count as lately.")
    ] = 3


class Rollout(base.ApiModel):
    """How a new revision is judged and promoted."""

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.bake) || !has(self.strategy) || self.strategy.type != 'Recreate'",
                "bake excludes strategy Recreate: no revision before stays to go back to. Remove one of the two",
                field_path=".bake",
            )
        )
    )

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
    bake: Annotated[
        Bake | None, pydantic.Field(description="Keeps the revision before warm after a promotion. Unset: it leaves at once.")
    ] = None
    rollback_window: Annotated[
        RollbackWindow | None,
        pydantic.Field(description="Which revisions may come back without steps. Unset: none."),
    ] = None
    on_failure: Annotated[
        Literal["Rollback", "KeepPods"],
        pydantic.Field(
            description=(
                "KeepPods leaves the pods of a revision that failed, without traffic, for a look. They go with the next "
                "revision, or when this is Rollback again."
            )
        ),
    ] = "Rollback"
    warmup: Annotated[
        traffic_spec.Warmup, pydantic.Field(description="What each pod of a new revision does before its first weight.")
    ] = traffic_spec.Warmup()


def weight_basis_points(weight: int | str) -> int:
    """A step's weight or mirror in hundredths of a percent, 0 to 10000: 5 -> 500, "0.5" -> 50."""
    whole, _, fraction = str(weight).partition(".")
    return int(whole) * 100 + int(fraction.ljust(2, "0") or 0)


def weight_text(basis_points: int) -> str:
    """The inverse of `weight_basis_points`, without needless decimals: 50 -> "0.5"."""
    whole, rest = divmod(basis_points, 100)
    return str(whole) if not rest else f"{whole}.{rest:02d}".rstrip("0")
