"""What an ABExperiment does while its decision fails: nobody judges the candidate, so nobody is sent to it."""

from datetime import datetime
from decimal import Decimal

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.ab_experiment_status import ABExperimentPhase
from tradewind.core.ab_experiment.seen import Reason
from tradewind.core.ab_experiment.turn import weighted
from tradewind.core.decision import Decision
from tradewind.core.world import World

_ROUTED = frozenset({ABExperimentPhase.RUNNING, ABExperimentPhase.DECIDED, ABExperimentPhase.RAMPING})


async def fail_safe(experiment: ABExperiment, _: World, now: datetime) -> Decision:
    """Weight 0 until a decision succeeds, which asks for the policy's weight again.

    A replay keeps its weights: they are published blocks, and nobody is at risk.
    """
    status = experiment.status
    at_risk = experiment.spec.mode is not Mode.REPLAY and status.phase in _ROUTED
    if not at_risk or (status.weight is not None and status.weight.desired == "0"):
        return Decision(status)
    message = (
        "the decision failed: see the condition Reconciling; the weight comes back with the next one that succeeds"
    )
    return Decision(weighted(status, Decimal(0), Reason.DECISION_FAILED, message, now))
