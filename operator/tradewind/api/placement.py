"""Where pods may run, and how many: affinity as Kubernetes writes it, spread, disruption budget, autoscaling.

Belongs here: fields whose meaning is Kubernetes' own. Does not belong here: what the pods do (the kinds' modules).
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tradewind.schema.checked import Checked
from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import Labels, Name

LabelValue = Annotated[str, Field(max_length=63)]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
Weight = Annotated[int, Field(ge=1, le=100)]
PriorityClassName = Annotated[
    str,
    Checked("[a-z0-9]([-a-z0-9.]*[a-z0-9])?", "must be the name of a PriorityClass: a-z, 0-9, dashes and dots", 128),
]
"""Name of a PriorityClass."""


class NodeExpression(StrictModel):
    """A condition on a node's label."""

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the values are compared."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=16)] = ()
    """Values of In, NotIn, Gt and Lt."""


class NodeSelectorTerm(StrictModel):
    """Conditions on a node, all of which hold."""

    match_expressions: Annotated[tuple[NodeExpression, ...], Field(min_length=1, max_length=16)]
    """Conditions on labels."""


class RequiredNodes(StrictModel):
    """Nodes that are allowed."""

    node_selector_terms: Annotated[tuple[NodeSelectorTerm, ...], Field(min_length=1, max_length=8)]
    """Terms, one of which holds."""


class PreferredNodes(StrictModel):
    """Nodes that are better than others."""

    weight: Weight
    """How much better."""
    preference: NodeSelectorTerm
    """Which nodes."""


class NodeAffinity(StrictModel):
    """Nodes by their labels."""

    required_during_scheduling_ignored_during_execution: RequiredNodes | None = None
    """Nodes that are allowed."""
    preferred_during_scheduling_ignored_during_execution: Annotated[
        tuple[PreferredNodes, ...], Field(max_length=8)
    ] = ()
    """Nodes that are better than others."""


class LabelExpression(StrictModel):
    """A condition on a pod's label."""

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the values are compared."""
    values: Annotated[tuple[LabelValue, ...], Field(max_length=16)] = ()
    """Values of In and NotIn."""


class LabelSelector(StrictModel):
    """Pods by their labels."""

    match_labels: Labels = Field(default_factory=dict)
    """Labels that the pods have."""
    match_expressions: Annotated[tuple[LabelExpression, ...], Field(max_length=16)] = ()
    """Conditions on labels."""


class PodAffinityTerm(StrictModel):
    """Other pods, and what counts as near them."""

    label_selector: LabelSelector
    """Which pods."""
    topology_key: LabelKey
    """Label of nodes whose equal value means near, such as topology.kubernetes.io/zone."""
    namespaces: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    """Namespaces of the pods; empty: the own one."""


class PreferredPods(StrictModel):
    """Places that are better than others."""

    weight: Weight
    """How much better."""
    pod_affinity_term: PodAffinityTerm
    """Which pods."""


class PodAffinity(StrictModel):
    """Places by the pods that are there."""

    required_during_scheduling_ignored_during_execution: Annotated[
        tuple[PodAffinityTerm, ...], Field(max_length=8)
    ] = ()
    """What must hold of a place."""
    preferred_during_scheduling_ignored_during_execution: Annotated[tuple[PreferredPods, ...], Field(max_length=8)] = ()
    """What is better."""


class Affinity(StrictModel):
    """Where pods run, as Kubernetes writes it."""

    node_affinity: NodeAffinity | None = None
    """Nodes by their labels."""
    pod_affinity: PodAffinity | None = None
    """Near which pods."""
    pod_anti_affinity: PodAffinity | None = None
    """Away from which pods."""


Spread = Literal["ScheduleAnyway", "DoNotSchedule", "None"]


class TopologySpread(StrictModel):
    """How evenly pods are spread: ScheduleAnyway where there is room, DoNotSchedule or not at all, None does not ask."""

    zones: Spread = "ScheduleAnyway"
    """Over zones (topology.kubernetes.io/zone)."""
    hosts: Spread = "ScheduleAnyway"
    """Over nodes (kubernetes.io/hostname)."""


class PodDisruptionBudget(StrictModel):
    """How many pods a drain of nodes may take at a time. There is none where one pod alone is wanted."""

    max_unavailable: Annotated[int, Field(ge=1, le=50)] = 1
    """Pods that may be away at a time."""


class Autoscaling(StrictModel):
    """Pods by their load. Kubernetes' HorizontalPodAutoscaler needs a metrics server."""

    min_replicas: Annotated[int, Field(ge=1, le=50)] = 2
    """Fewest pods."""
    max_replicas: Annotated[int, Field(ge=1, le=50)]
    """Most pods."""
    target_cpu_utilization: Annotated[int, Field(ge=1, le=1000)] = 70
    """CPU that the pods use on average, in percent of what they request."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.minReplicas) ? self.minReplicas : 2) <= self.maxReplicas",
            lambda s: s.min_replicas <= s.max_replicas,
            "autoscaling.minReplicas (2 where it is absent) must not exceed maxReplicas; lower it or raise maxReplicas",
            "minReplicas",
        ),
    )


class PredictorAutoscaling(StrictModel):
    """Pods of a predictor by their load. KServe makes a HorizontalPodAutoscaler, which needs a metrics server."""

    min_replicas: Annotated[int, Field(ge=0, le=50)] = 1
    """Fewest pods; at least 1: who may be asked has a pod, and who may not rests (retireAfter)."""
    max_replicas: Annotated[int, Field(ge=1, le=50)]
    """Most pods."""
    target_cpu_utilization: Annotated[int, Field(ge=1, le=100)] = 70
    """CPU that the pods use on average, in percent of what they request."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.minReplicas) || self.minReplicas >= 1",
            lambda s: s.min_replicas >= 1,
            "autoscaling.minReplicas must be at least 1: a version that may be champion or an arm has a pod when it is asked; one that "
            "nobody needs has none by itself, after serving.retireAfter",
            "minReplicas",
        ),
        Rule(
            "(has(self.minReplicas) ? self.minReplicas : 1) <= self.maxReplicas",
            lambda s: s.min_replicas <= s.max_replicas,
            "autoscaling.minReplicas must not exceed maxReplicas; lower it or raise maxReplicas",
            "minReplicas",
        ),
    )
