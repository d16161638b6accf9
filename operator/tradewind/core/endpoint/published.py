"""The routing document as it lies in the ConfigMap, and whether it is the operator's own.

Whoever may write ConfigMaps can put anything there. Nothing of a document is read before its signature was verified; in the
place of one that is not the operator's stands the last one that was, as far as this process knows it.

Belongs here: reading and verifying. Does not belong here: what is said of a forged one (intact.py).
"""

import json
from dataclasses import replace

from tradewind.api.endpoint import Endpoint
from tradewind.core.endpoint.intact import CONDITION
from tradewind.core.endpoint.names import routing_name
from tradewind.core.endpoint.seen import Document
from tradewind.core.verbs import one_line
from tradewind.core.world import Json, World
from tradewind.trading.routing import ROUTING_KEY, SIGNATURE_KEY, Refusal, Routing, text_sha256

_LONGEST_WRITER = 128


async def published(endpoint: Endpoint, world: World) -> tuple[Routing | None, Document]:
    """What to build on, and what gateways find."""
    uid = endpoint.metadata.uid
    kept = world.kept_routing(uid)
    body = await world.read("v1", "ConfigMap", endpoint.namespace, routing_name(endpoint.name))
    if body is None:
        return _built_on(kept, Document(holds=False))
    data = body.get("data") or {}
    text, signature = str(data.get(ROUTING_KEY, "")), str(data.get(SIGNATURE_KEY, ""))
    found = Document(
        holds=False,
        writer=_writer(body),
        version=str(body["metadata"].get("resourceVersion", "")),
        immutable=bool(body.get("immutable")),
    )
    refusal = world.seal.refusal(signature, text, endpoint.namespace, endpoint.name)
    if refusal is not None and endpoint.status.condition(CONDITION) is None:
        return _built_on(
            kept, found
        )  # nothing was signed here so far: of an operator that did not, or of another installation
    if refusal is not None:
        return _built_on(kept, replace(found, refusal=refusal, detail=_meant_for(text, signature, endpoint, world)))
    routing, last = _parsed(text), _parsed(kept)
    if routing is None:  # of a newer operator, before a rollback
        return _built_on(kept, found)
    if last is not None and routing.is_older_than(last):
        return _built_on(kept, replace(found, refusal=Refusal.OLDER))
    world.keep_routing(uid, text)
    if found.immutable:
        return _built_on(text, replace(found, refusal=Refusal.IMMUTABLE))
    return _built_on(text, replace(found, holds=world.seal.is_current(signature)))


def _built_on(text: str | None, document: Document) -> tuple[Routing | None, Document]:
    routing = _parsed(text)
    return routing, replace(document, sha256=text_sha256(text) if text is not None and routing is not None else None)


def _parsed(text: str | None) -> Routing | None:
    try:
        return Routing.from_json(text) if text else None
    except ValueError:
        return None


def _meant_for(text: str, signature: str, endpoint: Endpoint, world: World) -> str:
    """For which Endpoint of the namespace a document was signed, if it was; its own word counts only where it was."""
    try:
        name = json.loads(text)["endpoint"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    if not isinstance(name, str) or name == endpoint.name:
        return ""
    signed = world.seal.refusal(signature, text, endpoint.namespace, name) is None
    return f"it is that of Endpoint {name}" if signed else ""


def _writer(body: Json) -> str:
    """Who last wrote the data, by the name that the writer chose."""
    fields = [f for f in body["metadata"].get("managedFields") or () if "f:data" in (f.get("fieldsV1") or {})]
    newest = sorted(fields, key=lambda f: str(f.get("time", "")))[-1:]
    return one_line("".join(str(f.get("manager", "")) for f in newest))[:_LONGEST_WRITER]
