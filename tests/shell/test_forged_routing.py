"""What the operator makes of a routing document that somebody else wrote: it takes nothing from it, says so, and publishes its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from golden_worlds import load
from server_double import PLATFORM, SIGNER, Json, Server, key, thing

from tradewind.core.registry import BY_KIND
from tradewind.shell.cache import Cache
from tradewind.shell.cluster import ClusterError
from tradewind.shell.reconcile import Reconciler
from tradewind.shell.shards import UNDIVIDED
from tradewind.shell.watch import refresh
from tradewind.shell.world import ClusterWorld
from tradewind.trading.routing import ROUTING_KEY, SIGNATURE_KEY, Routing
from tradewind.trading.signature import Signer

NAME = "trader-routing"
CASE = load("endpoint", "renews-expiry-and-keeps-the-generation")


class Rig:
    """An operator, and the cluster that it works on; the database is away."""

    def __init__(self) -> None:
        status = {"championRef": {"name": "api", "uid": "uid-api"}, "phase": "Ready"}
        ready = {
            "type": "Ready", "status": "True", "reason": "Given", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        external = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}
        self.server = Server(
            thing("Endpoint", "trader", {"fallback": "api"}, status),
            thing("ModelVersion", "api", external, {"conditions": [ready]}),
        )
        self.now = CASE.now
        self.restart()

    def restart(self, signer: Signer = SIGNER) -> None:
        """Another operator process: it remembers nothing."""
        self.world = ClusterWorld(self.server, None, Cache(), signer)  # type: ignore[arg-type]
        self.reconcile = Reconciler(self.world, PLATFORM, enqueue=lambda _: None, clock=lambda: self.now)

    async def turn(self) -> Json:
        """One turn of the Endpoint; its status."""
        await refresh(self.world.cache, self.server, UNDIVIDED)  # type: ignore[arg-type]
        self.server.calls.clear()
        await self.reconcile(key("Endpoint", "trader"))
        return self.server.status("Endpoint", "trader")

    @property
    def config_map(self) -> Json:
        return self.server.objects["ConfigMap", NAME]

    @property
    def document(self) -> Routing:
        return Routing.from_json(self.config_map["data"][ROUTING_KEY])

    @property
    def intact(self) -> tuple[str, str, str]:
        found = self.server.condition("Endpoint", "trader", "RoutingIntact") or {}
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    def signed(self) -> bool:
        data = self.config_map["data"]
        return SIGNER.refusal(data[SIGNATURE_KEY], data[ROUTING_KEY], "trading", "trader") is None

    def forge(self, **changes: Any) -> Routing:
        """Somebody patches the text; everything goes to their own host."""
        arms = {
            name: arm.model_copy(update={"base_url": "http://evil.test"}) for name, arm in self.document.arms.items()
        }
        forged = self.document.model_copy(update={"arms": arms, **changes})
        self.write({**self.config_map["data"], ROUTING_KEY: forged.to_json()})
        return forged

    def write(self, data: Json, **changes: Any) -> None:
        fields = [{"manager": "kubectl-patch", "time": "2026-03-01T12:00:00Z", "fieldsV1": {"f:data": {}}}]
        metadata = {**self.config_map["metadata"], "managedFields": fields, "labels": {}}
        self.server.put({**self.config_map, "data": data, "metadata": metadata, **changes})


@pytest.fixture
async def rig() -> Rig:
    rig = Rig()
    await rig.turn()
    assert rig.signed()
    assert rig.intact[:2] == ("True", "RoutingIntact")
    return rig


async def test_what_was_published_stays_as_it_is(rig: Rig) -> None:
    before = rig.config_map["metadata"]["resourceVersion"]
    await rig.turn()
    assert rig.config_map["metadata"]["resourceVersion"] == before


async def test_one_write_as_it_was_seen_on_a_cluster(rig: Rig) -> None:
    """A huge generation and an expiry in 2099: nothing of it is taken over, and the document is back in the same turn."""
    before = rig.document
    rig.forge(generation=10**15, expires_at=before.expires_at.replace(year=2099))
    status = await rig.turn()
    assert rig.signed()
    assert rig.document == before
    assert rig.config_map["metadata"]["labels"]["tradewind.dev/owner-name"] == "trader"
    assert status["gateway"]["generation"] == before.generation
    told = rig.intact
    assert told[:2] == ("False", "RoutingTampered")
    assert "does not match its signature" in told[2]
    assert "field manager 'kubectl-patch'" in told[2]
    assert "evil.test" not in str(status)
    assert "event RoutingTampered warning" in rig.server.calls


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_operator_takes_nothing_from_it_after_a_restart_either(rig: Rig, *, restarted: bool) -> None:
    before = rig.document
    rig.forge(generation=10**15, expires_at=before.expires_at.replace(year=2099))
    if restarted:
        rig.restart()
    await rig.turn()
    assert rig.signed()
    assert before.generation <= rig.document.generation <= before.generation + 1
    assert rig.document.arms == before.arms
    assert rig.intact[:2] == ("False", "RoutingTampered")


def unsigned(rig: Rig) -> None:
    rig.write({ROUTING_KEY: rig.document.to_json()})


def by_another_key(rig: Rig) -> None:
    text = rig.document.to_json()
    rig.write({ROUTING_KEY: text, SIGNATURE_KEY: Signer.generated().sign(text, "trading", "trader")})


def of_another_endpoint(rig: Rig) -> None:
    text = rig.document.model_copy(update={"endpoint": "other"}).to_json()
    rig.write({ROUTING_KEY: text, SIGNATURE_KEY: SIGNER.sign(text, "trading", "other")})


def emptied(rig: Rig) -> None:
    rig.write({})


def an_earlier_one(rig: Rig) -> None:
    earlier = rig.document.published_at.replace(year=2025)
    text = rig.document.model_copy(update={"generation": 7, "published_at": earlier}).to_json()
    rig.write({ROUTING_KEY: text, SIGNATURE_KEY: SIGNER.sign(text, "trading", "trader")})


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (unsigned, "is not signed"),
        (by_another_key, "a key that is not this installation's"),
        (of_another_endpoint, "it is that of Endpoint other"),
        (emptied, "is not signed"),
        (an_earlier_one, "is an earlier one of this Endpoint"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
async def test_what_was_found_is_told(rig: Rig, attack: Callable[[Rig], None], words: str, *, restarted: bool) -> None:
    arms = rig.document.arms
    attack(rig)
    if restarted:
        rig.restart()
    await rig.turn()
    assert rig.signed()
    assert (rig.document.endpoint, rig.document.arms) == ("trader", arms)
    assert rig.intact[:2] == ("False", "RoutingTampered")
    assert words in rig.intact[2]
    calls, found = rig.server.calls, rig.server.status("Endpoint", "trader")["routingTampered"]["count"]
    assert (calls.count("event RoutingTampered warning"), found) == (1, 1)
    await rig.turn()
    assert "apply ConfigMap" not in rig.server.calls
    assert rig.server.status("Endpoint", "trader")["routingTampered"]["count"] == 1


async def test_one_that_is_deleted_comes_back_as_it_was(rig: Rig) -> None:
    before = rig.document
    rig.server.remove("ConfigMap", NAME)
    await rig.turn()
    assert rig.signed()
    assert rig.document == before
    assert rig.intact[0] == "True"


async def test_one_that_was_made_immutable_is_deleted_and_made_anew(rig: Rig) -> None:
    rig.write(rig.config_map["data"], immutable=True)
    deleted = []

    async def delete(_: str, kind: str, __: str, name: str, *, uid: str | None = None) -> None:
        deleted.append((kind, name))
        rig.server.remove(kind, name)

    rig.server.delete = delete  # type: ignore[attr-defined]
    await rig.turn()
    assert deleted == [("ConfigMap", NAME)]
    assert rig.signed()
    assert not rig.config_map.get("immutable")
    assert rig.intact[:2] == ("False", "RoutingTampered")


async def test_a_forged_one_is_replaced_although_nothing_new_can_be_published(rig: Rig) -> None:
    """The champion's version is gone, so that no document can be made: the last one is put back."""
    before = rig.document
    rig.server.remove("ModelVersion", "api")
    rig.forge()
    await rig.turn()
    assert rig.signed()
    assert rig.document == before


async def test_a_forged_one_gives_no_weight_where_the_decision_fails(rig: Rig) -> None:
    before = rig.document
    rig.forge()

    def raises(*_: Any, **__: Any) -> Any:
        raise ValueError("Toy")

    broken = replace(rig.reconcile, kinds={**BY_KIND, "Endpoint": replace(BY_KIND["Endpoint"], decide=raises)})
    with pytest.raises(ValueError, match="Toy"):
        await broken(key("Endpoint", "trader"))
    assert rig.signed()
    assert rig.document == before


async def test_a_document_that_could_not_be_written_makes_the_one_before_no_forgery(rig: Rig) -> None:
    endpoint = rig.server.objects["Endpoint", "trader"]
    rig.server.put({**endpoint, "spec": {"fallback": "api", "flips": "refuse"}})
    rig.server.refuse = "apply ConfigMap"
    with pytest.raises(ClusterError):
        await rig.turn()
    rig.server.refuse = None
    await rig.turn()
    assert rig.intact[0] == "True"
    assert rig.document.flips == "refuse"


async def test_an_upgrade_from_an_operator_that_did_not_sign_is_no_forgery() -> None:
    rig = Rig()
    await rig.turn()
    unsigned(rig)
    endpoint = rig.server.objects["Endpoint", "trader"]
    conditions = [c for c in endpoint["status"]["conditions"] if c["type"] != "RoutingIntact"]
    rig.server.put({**endpoint, "status": {**endpoint["status"], "conditions": conditions}})
    rig.restart()
    await rig.turn()
    assert rig.signed()
    assert rig.intact[0] == "True"


async def test_a_generation_that_an_earlier_operator_took_from_a_forged_one_is_left_behind(rig: Rig) -> None:
    endpoint = rig.server.objects["Endpoint", "trader"]
    status = {**endpoint["status"], "gateway": {**endpoint["status"]["gateway"], "generation": 10**15}}
    rig.server.put({**endpoint, "status": status})
    unsigned(rig)
    rig.restart()
    await rig.turn()
    assert rig.document.out_of_bounds(rig.now) is None


async def test_a_new_key_signs_anew_what_the_one_before_has_signed(rig: Rig) -> None:
    before, old = rig.document, SIGNER
    pem = _pem()
    rig.restart(Signer(pem, trusted=old.public_keys))
    await rig.turn()
    assert rig.document == before
    assert not rig.signed()
    data = rig.config_map["data"]
    assert Signer(pem).refusal(data[SIGNATURE_KEY], data[ROUTING_KEY], "trading", "trader") is None
    assert rig.intact[0] == "True"


def _pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
