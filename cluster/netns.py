"""The network namespace the node lives in: joined to the host by one veth pair, with no way out of the machine."""

from __future__ import annotations

from pathlib import Path

from cluster.layout import (
    DEAD_END_ADDRESS,
    DEAD_END_GATEWAY,
    HOST_ADDRESS,
    HOST_LINK,
    LINK_PREFIX,
    NETNS,
    NODE_ADDRESS,
    POD_CIDR,
    SERVICE_CIDR,
)
from cluster.shell import run, succeeds

REMEDY = "`python3 cluster down` removes a half-made namespace; then try again"


def up() -> None:
    """Create namespace, veth pair and routes. The namespace must not exist. Errors: StepError."""
    _ip("netns", "add", NETNS)
    _ip("link", "add", HOST_LINK, "type", "veth", "peer", "name", "uplink", "netns", NETNS)
    _ip("addr", "add", f"{HOST_ADDRESS}/{LINK_PREFIX}", "dev", HOST_LINK)
    _ip("link", "set", HOST_LINK, "up")
    _inside("link", "set", "lo", "up")
    _inside("addr", "add", f"{NODE_ADDRESS}/{LINK_PREFIX}", "dev", "uplink")
    _inside("link", "set", "uplink", "up")
    # Service addresses are rewritten after routing, so they need a route; a bridge without ports swallows the rest.
    # A `blackhole` route would refuse them before the rewrite, and not every kernel has `dummy` devices.
    _inside("link", "add", "deadend", "type", "bridge")
    _inside("addr", "add", f"{DEAD_END_ADDRESS}/24", "dev", "deadend")
    _inside("link", "set", "deadend", "up")
    _inside("route", "add", "default", "via", DEAD_END_GATEWAY, "dev", "deadend")
    run(["nsenter", f"--net=/run/netns/{NETNS}", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"], remedy=REMEDY)
    for reachable in (SERVICE_CIDR, POD_CIDR):
        _ip("route", "replace", reachable, "via", NODE_ADDRESS, "dev", HOST_LINK)


def down() -> None:
    """Remove what `up` made, whole or in part."""
    if Path(f"/sys/class/net/{HOST_LINK}").exists():
        _ip("link", "del", HOST_LINK)
    if Path(f"/run/netns/{NETNS}").exists():
        # After a restart of the machine only an empty file is left, which `ip netns del` still removes.
        _ip("netns", "del", NETNS)


def exists() -> bool:
    return succeeds(["nsenter", f"--net=/run/netns/{NETNS}", "true"]) and Path(f"/sys/class/net/{HOST_LINK}").exists()


def _ip(*arguments: str) -> None:
    run(["ip", *arguments], remedy=REMEDY)


def _inside(*arguments: str) -> None:
    run(["ip", "-n", NETNS, *arguments], remedy=REMEDY)
