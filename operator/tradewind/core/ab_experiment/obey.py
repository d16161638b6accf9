"""The verbs abort, pause, resume and approve: carried out, or refused and said so, each with who asked.

Belongs here: whether a verb may be carried out now, what it changes, and its entry in the history. Does not belong here: accept
(accept.py), how an experiment ends (verdict.py), and requests that were carried out before (core/verbs.py).
"""

from datetime import datetime

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentPhase, ABExperimentStatus, HistoryEntry, RampStatus
from tradewind.core.ab_experiment.seen import Reason
from tradewind.core.ab_experiment.turn import Turn, handled, noted
from tradewind.core.endpoint import TERMINAL
from tradewind.core.verbs import Verb, pending_verb

VERBS = ("abort", "pause", "resume", "approve", "accept")
"""In this order, where several are new at once: what takes weight away goes first."""

_DONE = {
    "pause": (Reason.PAUSED, "paused"),
    "resume": (Reason.RESUMED, "resumed"),
    "approve": (Reason.APPROVED, "approved"),
}


def asked(experiment: ABExperiment) -> Verb | None:
    """The verb that is to be answered in this turn.

    Before the start a pause waits for it, and a resume for the pause: whoever wants no weight gets none. All else is
    answered at once.
    """
    if experiment.status.t0 is not None:
        return pending_verb(experiment, VERBS)
    waits = pending_verb(experiment, ("pause",)) is not None
    return pending_verb(
        experiment, ("abort", "approve", "accept") if waits else ("abort", "resume", "approve", "accept")
    )


def refusal(experiment: ABExperiment, verb: str) -> tuple[Reason, str] | None:
    """Why a verb cannot be carried out in this state, with the remedy; None: it can, as far as the object tells."""
    status = experiment.status
    if status.phase in TERMINAL:
        ended = f"the experiment is over ({status.phase.value})"
        if verb == "abort" and status.phase is ABExperimentPhase.SUCCEEDED:
            point = experiment.spec.endpoint_ref.name
            return Reason.OVER, f"{ended}: `tradewind rollback {point}` takes its promotion back"
        return Reason.OVER, f"{ended}: what was measured stays as it is; begin a new one with what answers now"
    match verb:
        case "pause" if status.phase is ABExperimentPhase.PAUSED:
            return Reason.ALREADY_PAUSED, "it is paused already"
        case "resume" if status.phase is not ABExperimentPhase.PAUSED:
            if status.t0 is None and pending_verb(experiment, ("pause",)) is not None:
                return None
            return Reason.NOT_PAUSED, f"it is not paused ({_phase(status)})"
        case "approve":
            missing = _missing_for_approval(experiment)
            return None if missing is None else (Reason.NOTHING_TO_APPROVE, missing)
        case _:
            return None


def _missing_for_approval(experiment: ABExperiment) -> str | None:
    status = experiment.status
    if status.approved_by is not None:
        return f"{status.approved_by} approved the promotion before, and it goes on ({_phase(status)})"
    if status.t0 is None:
        return "there is no verdict to approve: the experiment has not started"
    if status.verdict is None:
        return f"there is no verdict to approve yet ({_phase(status)}); approve once the verdict is promote"
    if status.phase is ABExperimentPhase.PAUSED:
        return f"it is paused: first `tradewind resume {experiment.name}`, then approve"
    succeeded = status.condition("Succeeded")
    asked_for = succeeded is not None and succeeded.reason == Reason.APPROVAL_NEEDED
    if status.phase is not ABExperimentPhase.DECIDED:
        return f"nothing waits for an approval ({_phase(status)})"
    if experiment.spec.on_promote.approval == "manual" or asked_for:
        return None
    return "onPromote.approval is automatic, and the Endpoint allows that: nothing waits for an approval"


def obeyed(turn: Turn, status: ABExperimentStatus, verb: Verb) -> ABExperimentStatus:
    """The status after pause, resume or approve: carried out or refused, and both in the history."""
    refused = refusal(turn.experiment, verb.name)
    if refused is not None:
        return declined(turn, status, verb, *refused)
    reason, word = _DONE[verb.name]
    match verb.name:
        case "approve":
            status = status.model_copy(update={"approved_by": verb.asker})
        case "pause":
            status = status.model_copy(update={"phase": ABExperimentPhase.PAUSED})
        case _:
            status = _resumed(status, turn.now)
    entry = of_verb(verb, turn.now, reason, f"{verb.asker} {word} it", done=True)
    return noted(handled(status, verb.name, verb.request), entry)


def declined(turn: Turn, status: ABExperimentStatus, verb: Verb, reason: Reason, why: str) -> ABExperimentStatus:
    """The status after a verb that was refused: its request id is used up, and the history says why."""
    message = f"{verb.name}, asked for by {verb.asker}, was refused: {why}"
    return noted(handled(status, verb.name, verb.request), of_verb(verb, turn.now, reason, message, done=False))


def over(turn: Turn) -> ABExperimentStatus:
    """The status of an experiment that has ended: it never acts, and says so to whoever asks."""
    status = turn.experiment.status
    for name in VERBS:
        verb = pending_verb(turn.experiment, (name,))
        refused = refusal(turn.experiment, name)
        if verb is not None and refused is not None:
            status = declined(turn, status, verb, *refused)
    return status


def of_verb(
    verb: Verb, time: datetime, reason: Reason, message: str, *, done: bool, block: int | None = None
) -> HistoryEntry:
    """What came of a verb, for the history; Events and the log repeat it."""
    return HistoryEntry(
        time=time.replace(microsecond=0),
        block=block,
        reason=reason,
        message=message[:1024],
        verb=verb.name,
        request=verb.request,
        by=verb.asker,
        result="done" if done else "refused",
    )


def _phase(status: ABExperimentStatus) -> str:
    return status.phase.value if status.phase is not None else "not looked at yet"


def _resumed(status: ABExperimentStatus, now: datetime) -> ABExperimentStatus:
    """Back to where it was: a step of the ramp, and the time without a fault, start anew."""
    if status.verdict is None:
        return status.model_copy(update={"phase": ABExperimentPhase.RUNNING})
    if status.ramp is None:
        return status.model_copy(update={"phase": ABExperimentPhase.DECIDED})
    ramp = RampStatus(step=status.ramp.step, since=now.replace(microsecond=0))
    return status.model_copy(update={"phase": ABExperimentPhase.RAMPING, "ramp": ramp})
