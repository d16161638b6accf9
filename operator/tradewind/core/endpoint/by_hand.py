r"""The verbs promote and rollback: a person changes the champion.

    annotation --valid--> status.byHand --no experiment holds the Endpoint--> record --> champion, history
         \--refused--> history   \--one does: it ends first, as it reads there--/

A request is taken once (`lastHandled`), with the version as it was then; from then on it does not hang on the annotation. It
is recorded once, by its own key, and what is recorded is carried out, however often the operator was killed in between.

Belongs here: whether a request may be carried out, and its way. Does not belong here: how an experiment ends
(core/ab_experiment/by_hand.py), and promotions that experiments earn (places.py).
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tradewind.api.ab_experiment_status import ABExperimentStatus
from tradewind.api.common import ConditionStatus, VersionStatusRef
from tradewind.api.endpoint import ByHandStatus, ChampionHistoryEntry, Endpoint, EndpointStatus
from tradewind.api.model_version import ModelVersion
from tradewind.core.conditions import Fact, is_true
from tradewind.core.decision import RecordPromotion
from tradewind.core.endpoint.holders import availability, held_experiment
from tradewind.core.endpoint.places import Places
from tradewind.core.endpoint.seen import TERMINAL, Reason, Seen
from tradewind.core.identity import is_meant, is_same, ref_to
from tradewind.core.model_version.rest import rests
from tradewind.core.verbs import PREFIX, Verb, one_line, pending_verb

CONDITION = "ChampionByHand"
VERBS = ("rollback", "promote")
"""Of two that are new at once the rollback goes first, and the promotion is dropped: what is in doubt is undone."""
DONE = frozenset({Reason.PROMOTED_BY_HAND, Reason.ROLLED_BACK_BY_HAND})
HISTORY_LENGTH = 20
LONGEST_REASON = 512

_NAMED = re.compile(r"([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)/([^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*)")
_SOON = timedelta(seconds=2)
_Refusal = tuple[Reason, str]


@dataclass(frozen=True)
class Change:
    """What becomes of the requests in this turn.

    Attributes:
        status: with what was taken, refused and carried out.
        fact: what is to be said of it; None: nothing new.
        again: when the next step is due; None: there is none.
    """

    places: Places
    status: EndpointStatus
    fact: Fact | None = None
    again: timedelta | None = None


def request_key(verb: str, request: str) -> str:
    """A request as it is recorded."""
    return f"{verb}={one_line(request)}"


def asked(endpoint: Endpoint) -> tuple[Verb, ...]:
    """Requests of these verbs that were not taken yet."""
    found = (pending_verb(endpoint, (name,)) for name in VERBS)
    return tuple(verb for verb in found if verb is not None)


def named_by_hand(endpoint: Endpoint) -> frozenset[str]:
    """Versions that a request may make champion."""
    status, verbs = endpoint.status, asked(endpoint)
    refs = [status.by_hand.version] if status.by_hand is not None else []
    if any(verb.name == "rollback" for verb in verbs):
        refs += [ref for ref in (status.champion_ref, status.previous_champion_ref) if ref is not None]
    named = (_NAMED.fullmatch(verb.request) for verb in verbs)
    return frozenset(ref.name for ref in refs) | {match.group(1) for match in named if match is not None}


def undone(status: EndpointStatus, held: ABExperimentStatus | None) -> VersionStatusRef | None:
    """Who is champion once the newest promotion is taken back; None: there is nothing to go back to.

    From its verdict on, the promotion of the experiment that holds the Endpoint is the newest one: the champion stays.
    """
    under_way = held is not None and held.verdict is not None and held.verdict.decision == "promote"
    return status.champion_ref if under_way else status.previous_champion_ref


def by_hand(endpoint: Endpoint, seen: Seen, places: Places, now: datetime) -> Change:
    """The next step of what was asked for, after an experiment's own promotion has taken its place."""
    status, verbs = endpoint.status, asked(endpoint)
    wish = status.by_hand
    if wish is None and not verbs:
        return Change(places, status)
    turn = _Turn(endpoint, seen, _waiting(endpoint, seen, places), now)
    if places.promotes:
        return Change(places, status, again=timedelta(0))
    if seen.database_error is not None:
        what = f"{wish.verb} to {wish.version.name}" if wish is not None else " and ".join(v.name for v in verbs)
        message = f"{what} is stored before anybody obeys it: it waits for the database"
        return Change(turn.places, status, Fact(CONDITION, None, Reason.DATABASE_UNREACHABLE, message), _SOON)
    if wish is not None and (turn.recorded(wish) or not verbs):
        return turn.carried_on(wish)
    return turn.taken(verbs, wish)


def _waiting(endpoint: Endpoint, seen: Seen, places: Places) -> Places:
    """The places while a request is on its way: nobody is given the Endpoint whom the next step would send away."""
    active = places.active
    keeps = active is not None and (active.status.t0 is not None or held_experiment(endpoint, seen) is active)
    return places if keeps else replace(places, active=None)


@dataclass(frozen=True)
class _Turn:
    endpoint: Endpoint
    seen: Seen
    places: Places
    now: datetime

    # --- a request is taken ------------------------------------------------------------------------------------------

    def taken(self, verbs: tuple[Verb, ...], wish: ByHandStatus | None) -> Change:
        """The first request, taken or refused; what is taken takes the place of every other one."""
        verb, *others = verbs
        status = _handled(self.endpoint.status, verb)
        found = self._version_asked_for(verb)
        if not isinstance(found, ModelVersion):
            reason, why = found
            message = f"{_said(verb)} was refused: {why}"
            again = timedelta(0) if wish is not None or others else None
            status = self._noted(status, verb, reason, message)
            return Change(self.places, status, Fact(CONDITION, False, reason, message), again)
        for other in others:
            message = f"{_said(other)} was dropped: {verb.name} came with it"
            status = self._noted(_handled(status, other), other, Reason.REPLACED, message)
        if wish is not None:
            message = f"{_told(wish)} was dropped: {verb.name} came before it was done"
            status = self._noted(status, wish, Reason.REPLACED, message)
        taken = ByHandStatus.model_validate(
            {
                "verb": verb.name,
                "request": verb.request,
                "version": ref_to(found),
                "by": verb.asker,
                "reason": self._reason(),
                "time": self.now.replace(microsecond=0),
            }
        )
        status = status.model_copy(update={"by_hand": taken})
        return Change(self.places, status, self._on_its_way(taken), timedelta(0))

    def _version_asked_for(self, verb: Verb) -> ModelVersion | _Refusal:
        """The version that a request means, or why it is refused."""
        named = _NAMED.fullmatch(verb.request)
        name = named.group(1) if named is not None else None
        champion, key = self.places.champion, request_key(verb.name, verb.request)
        if self.endpoint.status.champion_ref is None or champion is None:
            why = "the status of the Endpoint did not know its champion, nor whether this was carried out before: ask again"
            return Reason.CHAMPION_UNKNOWN, why
        if key in self.seen.used:
            return Reason.REQUEST_USED, "this request id was carried out before: use a new one"
        if verb.name == "promote":
            if name is None:
                why = f"write {PREFIX}promote=VERSION/REQUEST-ID, such as {PREFIX}promote=v2/{self.now:%Y-%m-%d}"
                return Reason.MALFORMED_REQUEST, why
            if not self._reason():
                return Reason.REASON_MISSING, f"say why in {PREFIX}reason: it is kept with the promotion"
            version = self._serving(name, None)
            if isinstance(version, ModelVersion) and is_meant(version, champion):
                ends = (
                    f"; `tradewind abort {self.places.active.name}` ends the experiment" if self.places.active else ""
                )
                return Reason.ALREADY_CHAMPION, f"{name} is champion already{ends}"
            return version
        if named is None and ("/" in verb.request or not verb.request.isprintable()):
            why = f"write {PREFIX}rollback=REQUEST-ID, or {PREFIX}rollback=VERSION/REQUEST-ID"
            return Reason.MALFORMED_REQUEST, why
        return self._before(champion, name)

    def _before(self, champion: VersionStatusRef, name: str | None) -> ModelVersion | _Refusal:
        """The champion before the newest promotion; `name`: whom the request expects there."""
        held = self.places.active
        target = undone(self.endpoint.status, held.status if held is not None else None)
        if name == champion.name and target is not None and target.name != name:
            return Reason.ALREADY_CHAMPION, f"{name} is champion already: somebody else may have rolled back"
        if target is None:
            ends = f"; `tradewind abort {held.name}` ends the experiment" if held is not None else ""
            why = f"{champion.name} is the first champion: there is none before it{ends}"
            return Reason.NO_PREVIOUS_CHAMPION, why
        if name is not None and target.name != name:
            why = f"a rollback leads to {target.name}, not to {name}: `tradewind promote {name}` makes it champion"
            return Reason.NO_PREVIOUS_CHAMPION, why
        if held is not None and target.name == champion.name:  # it stays: nothing new answers
            version = self.seen.versions.get(target.name)
            return version if version is not None else self._serving(target.name, target)
        return self._serving(target.name, target)

    def _serving(self, name: str, ref: VersionStatusRef | None) -> ModelVersion | _Refusal:
        """A version that can answer, or will once its pods are back, and is what `ref` names; or why it is refused."""
        version = self.seen.versions.get(name)
        if version is None:
            return Reason.VERSION_MISSING, f"ModelVersion {name} does not exist in {self.endpoint.namespace}"
        if version.metadata.deletion_timestamp is not None:
            return Reason.VERSION_DELETED, f"ModelVersion {name} is being deleted"
        if ref is not None and not is_meant(version, ref):
            why = f"ModelVersion {name} is not what it was: `tradewind promote {name}` takes it as it is now"
            return Reason.VERSION_CHANGED, why
        ready = version.status.condition("Ready")
        unasked = version.spec.external is not None and (ready is None or ready.status is ConditionStatus.UNKNOWN)
        if not unasked and not rests(version) and not is_true(version.status.conditions, "Ready"):
            why = f" ({ready.reason}: {ready.message})" if ready is not None else ""
            return Reason.VERSION_NOT_READY, f"ModelVersion {name} is not Ready{why[:400]}"
        return version

    # --- a request is carried out ------------------------------------------------------------------------------------

    def recorded(self, wish: ByHandStatus) -> bool:
        """Whether it is stored already: an operator was killed before it wrote the status."""
        promotion = self.seen.promotion
        return promotion is not None and promotion.request == request_key(wish.verb, wish.request)

    def carried_on(self, wish: ByHandStatus) -> Change:
        """The experiment ends first; then the record, and the champion."""
        champion, recorded = self.places.champion, self.recorded(wish)
        active = self.places.active
        if not recorded and active is not None and active.status.phase not in TERMINAL:
            return Change(self.places, self.endpoint.status, self._on_its_way(wish), _SOON)
        free = replace(self.places, active=None, experiment_fact=None)
        status = self.endpoint.status.model_copy(update={"by_hand": None})
        reason = Reason.PROMOTED_BY_HAND if wish.verb == "promote" else Reason.ROLLED_BACK_BY_HAND
        why = f": {wish.reason}" if wish.reason else ""
        if (
            not recorded
            and champion is not None
            and champion.name == wish.version.name
            and is_same(wish.version, champion)
        ):
            message = f"{wish.by} took the newest promotion back; {champion.name} stays champion{why}"
            if wish.verb == "promote":
                message = f"{champion.name} became champion before {_told(wish)} was carried out"
            return self._done(free, status, wish, reason, message)
        found = self._serving(wish.version.name, wish.version)
        if not recorded and not isinstance(found, ModelVersion):
            refused, because = found
            message = f"{_told(wish)} was refused: {because}"
            status = self._noted(status, wish, refused, message)
            return Change(free, status, Fact(CONDITION, False, refused, message), timedelta(0))
        if not recorded and isinstance(found, ModelVersion) and rests(found):
            ready = found.status.condition("Ready")
            message = f"{_told(wish)} waits until {found.name} is Ready: {ready.message if ready is not None else ''}"
            fact = Fact(CONDITION, None, Reason.VERSION_WAKING, message[:1024])
            return Change(free, self.endpoint.status, fact, _SOON)
        left = champion.name if champion is not None else "nobody"
        record = RecordPromotion(
            endpoint=self.endpoint.name,
            version=wish.version.name,
            sha256=wish.version.sha256,
            spec_sha256=wish.version.spec_sha256,
            previous=champion.name if champion is not None else None,
            experiment_uid=None,
            reason=reason,
            request=request_key(wish.verb, wish.request),
            requested_by=wish.by,
            message=wish.reason or None,
        )
        promoted = wish.version.model_copy(update={"since": self.now.replace(microsecond=0)})
        same_name = champion is not None and champion.name == promoted.name
        what = "promoted" if wish.verb == "promote" else "rolled back to"
        message = f"{wish.by} {what} {promoted.name} in place of {left}{why}"
        free = replace(
            free,
            champion=promoted,
            previous=free.previous if same_name else champion,
            champion_fact=availability(self.endpoint, self.seen, promoted, f"{what} {promoted.name} by hand"),
            effects=(*free.effects, record),
        )
        return self._done(free, status, wish, reason, message)

    def _done(self, places: Places, status: EndpointStatus, wish: ByHandStatus, reason: Reason, message: str) -> Change:
        status = self._noted(status, wish, reason, message)
        return Change(places, status, Fact(CONDITION, True, reason, message), timedelta(0))

    # --- words -------------------------------------------------------------------------------------------------------

    def _reason(self) -> str:
        return one_line(self.endpoint.metadata.annotations.get(f"{PREFIX}reason", ""))[:LONGEST_REASON]

    def _on_its_way(self, wish: ByHandStatus) -> Fact:
        if self.places.active is None:
            return Fact(CONDITION, None, Reason.APPLYING, f"{_told(wish)} is being carried out")
        message = f"{_told(wish)} waits for ABExperiment {self.places.active.name} to end"
        return Fact(CONDITION, None, Reason.EXPERIMENT_ENDING, message)

    def _noted(
        self, status: EndpointStatus, request: Verb | ByHandStatus, reason: Reason, message: str
    ) -> EndpointStatus:
        verb, by = (request.verb, request.by) if isinstance(request, ByHandStatus) else (request.name, request.asker)
        entry = ChampionHistoryEntry(
            time=self.now.replace(microsecond=0),
            request=_key(request),
            reason=reason.value,
            message=message[:1024],
            verb=verb,
            by=by,
            result="done" if reason in DONE else "refused",
        )
        return status.model_copy(update={"history": (*(status.history or ()), entry)[-HISTORY_LENGTH:]})


def _handled(status: EndpointStatus, verb: Verb) -> EndpointStatus:
    return status.model_copy(update={"last_handled": {**status.last_handled, verb.name: verb.request}})


def _key(request: Verb | ByHandStatus) -> str:
    return request_key(request.verb if isinstance(request, ByHandStatus) else request.name, request.request)


def _said(verb: Verb) -> str:
    return f"{verb.name} {one_line(verb.request)}, asked for by {verb.asker},"


def _told(wish: ByHandStatus) -> str:
    return f"{wish.verb} to {wish.version.name}, asked for by {wish.by},"
