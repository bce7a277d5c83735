"""Where pods may and should run: node and pod affinity and topology spread, as Kubernetes has them, bounded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic

from sluice.api import base, pod_fields


def _values_fit_operator(*more: dict[str, str]) -> dict[str, Any]:
    return base.validations(
        base.cel(
            "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
            "operators In and NotIn need values: list at least one, or use operator Exists",
        ),
        base.cel(
            "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",
            "operators Exists and DoesNotExist have no values: remove values, or use operator In",
        ),
        *more,
    )


class LabelSelectorRequirement(base.ApiModel):
    """One condition on a label."""

    key: pod_fields.LabelKey
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist"], pydantic.Field(description="How the label is compared with values.")
    ]
    values: Annotated[
        tuple[pod_fields.LabelValue, ...] | None, pydantic.Field(max_length=16, description="Values for In and NotIn.")
    ] = None

    model_config = pydantic.ConfigDict(json_schema_extra=_values_fit_operator())


class LabelSelector(base.ApiModel):
    """Selects objects by their labels; all conditions must hold, and an empty one selects all."""

    match_labels: Annotated[pod_fields.LabelMap | None, pydantic.Field(description="Labels with exactly these values.")] = None
    match_expressions: Annotated[
        tuple[LabelSelectorRequirement, ...] | None, pydantic.Field(max_length=8, description="Further conditions.")
    ] = None


class NodeSelectorRequirement(base.ApiModel):
    """One condition on a node's label."""

    key: pod_fields.LabelKey
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"],
        pydantic.Field(description="How the label is compared with values."),
    ]
    values: Annotated[
        tuple[pod_fields.LabelValue, ...] | None,
        pydantic.Field(max_length=16, description="Values for In and NotIn; one integer for Gt and Lt."),
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=_values_fit_operator(
            base.cel(
                "!(self.operator in ['Gt', 'Lt']) || (has(self.values) && size(self.values) == 1 && "
                "self.values[0].matches('^-?[0-9]+$'))",
                "operators Gt and Lt compare with one integer: set values to one, such as ['16']",
            )
        )
    )


class NodeFieldRequirement(base.ApiModel):
    """One condition on a node's name, the only field that nodes are selected by."""

    key: Annotated[Literal["metadata.name"], pydantic.Field(description="metadata.name.")]
    operator: Annotated[Literal["In", "NotIn"], pydantic.Field(description="Whether it is that node, or any other.")]
    values: Annotated[
        tuple[pod_fields.ObjectName, ...], pydantic.Field(min_length=1, max_length=1, description="The node's name.")
    ]


class NodeSelectorTerm(base.ApiModel):
    """Conditions on one node, all of which must hold."""

    match_expressions: Annotated[
        tuple[NodeSelectorRequirement, ...] | None, pydantic.Field(max_length=8, description="By the node's labels.")
    ] = None
    match_fields: Annotated[
        tuple[NodeFieldRequirement, ...] | None,
        pydantic.Field(max_length=2, description="By the node's fields; metadata.name is the only one."),
    ] = None


class NodeSelector(base.ApiModel):
    """Nodes that one of the terms selects."""

    node_selector_terms: Annotated[
        tuple[NodeSelectorTerm, ...], pydantic.Field(min_length=1, max_length=8, description="One of these must hold.")
    ]


class PreferredSchedulingTerm(base.ApiModel):
    """A preference for nodes."""

    weight: Annotated[int, pydantic.Field(ge=1, le=100, description="How much it counts against other preferences.")]
    preference: Annotated[NodeSelectorTerm, pydantic.Field(description="The nodes.")]


class NodeAffinity(base.ApiModel):
    """Which nodes."""

    required_during_scheduling_ignored_during_execution: Annotated[
        NodeSelector | None, pydantic.Field(description="Nodes a pod may run on.")
    ] = None
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[PreferredSchedulingTerm, ...] | None, pydantic.Field(max_length=8, description="Nodes it should run on.")
    ] = None


class PodAffinityTerm(base.ApiModel):
    """Pods that count as neighbours, and what a neighbourhood is."""

    label_selector: Annotated[
        LabelSelector | None, pydantic.Field(description="The other pods. Unset: pods of the same revision.")
    ] = None
    topology_key: Annotated[
        pod_fields.LabelKey,
        pydantic.Field(description="Nodes with the same value of this label are one place, as topology.kubernetes.io/zone."),
    ]
    namespaces: Annotated[
        tuple[base.DnsLabel, ...] | None,
        pydantic.Field(max_length=16, description="Namespaces of the other pods. Default: this one."),
    ] = None
    namespace_selector: Annotated[
        LabelSelector | None, pydantic.Field(description="Further namespaces of the other pods, by their labels.")
    ] = None


class WeightedPodAffinityTerm(base.ApiModel):
    """A preference about neighbours."""

    weight: Annotated[int, pydantic.Field(ge=1, le=100, description="How much it counts against other preferences.")]
    pod_affinity_term: Annotated[PodAffinityTerm, pydantic.Field(description="The neighbours.")]


class PodAffinity(base.ApiModel):
    """Which other pods' places."""

    required_during_scheduling_ignored_during_execution: Annotated[
        tuple[PodAffinityTerm, ...] | None, pydantic.Field(max_length=4, description="What must hold.")
    ] = None
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[WeightedPodAffinityTerm, ...] | None, pydantic.Field(max_length=4, description="What should hold.")
    ] = None


class Affinity(base.ApiModel):
    """Where pods may and should run."""

    node_affinity: Annotated[NodeAffinity | None, pydantic.Field(description="Which nodes.")] = None
    pod_affinity: Annotated[PodAffinity | None, pydantic.Field(description="Near which pods.")] = None
    pod_anti_affinity: Annotated[PodAffinity | None, pydantic.Field(description="Away from which pods.")] = None


class TopologySpreadConstraint(base.ApiModel):
    """How evenly the pods of one revision are spread over places."""

    max_skew: Annotated[int, pydantic.Field(ge=1, le=1000, description="Most pods that one place may be ahead of another.")]
    topology_key: Annotated[
        pod_fields.LabelKey,
        pydantic.Field(description="Nodes with the same value of this label are one place, as topology.kubernetes.io/zone."),
    ]
    when_unsatisfiable: Annotated[
        Literal["DoNotSchedule", "ScheduleAnyway"], pydantic.Field(description="What happens when it cannot be kept.")
    ]
    label_selector: Annotated[
        LabelSelector | None, pydantic.Field(description="The pods that are counted. Unset: pods of the same revision.")
    ] = None
    min_domains: Annotated[int | None, pydantic.Field(ge=1, le=1000, description="Fewest places; for DoNotSchedule only.")] = (
        None
    )
    node_affinity_policy: Annotated[
        Literal["Honor", "Ignore"] | None,
        pydantic.Field(description="Whether only nodes of the pod's affinity count. Default: Honor."),
    ] = None
    node_taints_policy: Annotated[
        Literal["Honor", "Ignore"] | None, pydantic.Field(description="Whether only tolerated nodes count. Default: Ignore.")
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
                "minDomains applies to whenUnsatisfiable DoNotSchedule only: remove it, or set DoNotSchedule",
                field_path=".minDomains",
            )
        )
    )
