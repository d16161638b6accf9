"""The protocols by which arms are asked: a module each, named as the protocol, with its `PROTOCOL`.

A new one is its file and a member of `tradewind.trading.routing.Protocol`, which the routing document, the API and this
registry read: they cannot disagree.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from tradewind.gateway.protocols.base import ArmAnswer, ArmProtocol, ArmQuestion, Usage, storable
from tradewind.trading.routing import Protocol

__all__ = ["PROTOCOLS", "ArmAnswer", "ArmProtocol", "ArmQuestion", "Usage", "storable"]

PROTOCOLS: Final[Mapping[Protocol, ArmProtocol]] = {
    protocol: import_module(f"{__name__}.{protocol.value}").PROTOCOL for protocol in Protocol
}
