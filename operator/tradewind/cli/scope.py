"""Which cluster and namespace a command is about, and what is said where it does not answer.

Belongs here: the options that every command about a cluster has, who signs a verb, and words for refusals and for names that
do not exist.
Does not belong here: what a command asks for.
"""

import argparse
from difflib import get_close_matches

from tradewind.api.common import API_VERSION
from tradewind.schema.durations import parse_duration
from tradewind.shell.cluster import Cluster, ClusterError, current_namespace

_SHOWN = 8
_LONGEST = 365 * 86_400.0


def add_scope(parser: argparse.ArgumentParser) -> None:
    """Adds `-n` and `--context`, which `connected` and `namespace_of` read."""
    parser.add_argument("-n", "--namespace", help="namespace (default: that of the kubeconfig's current context)")
    parser.add_argument("--context", help="context of the kubeconfig (default: the current one)")


def connected(args: argparse.Namespace) -> "_Connecting":
    """The cluster that is meant, as an async context manager; what goes wrong in it is a ClusterError with the remedy."""
    return _Connecting(args.context)


def namespace_of(args: argparse.Namespace) -> str:
    """The namespace that is meant."""
    return str(args.namespace or current_namespace(args.context))


class _Connecting:
    """Connects and closes; words of the API server are completed with what to do."""

    def __init__(self, context: str | None) -> None:
        self._context = context
        self._cluster: Cluster | None = None

    async def __aenter__(self) -> Cluster:
        self._cluster = await Cluster.connect(self._context)
        return await self._cluster.__aenter__()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        assert self._cluster is not None
        await self._cluster.__aexit__(None, None, None)
        if type(error) is ClusterError:
            raise ClusterError(with_remedy(error), error.status) from error


def with_remedy(error: ClusterError) -> str:
    """What went wrong, and what to do about it."""
    text = str(error)
    match error.status:
        case 0 if "no answer" in text:
            return f"{text}: is the cluster up, and is this the context that you mean? `kubectl config get-contexts`"
        case 401:
            return f"{text}: the cluster does not know you; renew the credentials of this context"
        case 403 if "ask for" not in text and "set tradewind.dev/by" not in text:
            return (
                f"{text}: ask for the ClusterRole `view` (to read), `edit` (to write) or `admin` (verbs) in this namespace; "
                "`kubectl auth can-i --list` says what you may do"
            )
        case 404 if "does not serve" in text:
            return f"{text} (helm install tradewind-crds charts/tradewind-crds), or mind --context"
        case _:
            return text


async def not_there(cluster: Cluster, kind: str, namespace: str, name: str) -> str:
    """That an object does not exist, with the names that are alike or all there are."""
    said = f"no {kind} {name!r} in namespace {namespace}"
    try:
        names = sorted(o["metadata"]["name"] for o in await cluster.select(API_VERSION, kind, namespace))
    except ClusterError:
        return said
    if not names:
        return f"{said}, and no other there: is it another namespace? `tradewind get {kind.lower()} -A`"
    alike = get_close_matches(name, names, 3, 0.5)
    if alike:
        return f"{said}; did you mean {', '.join(alike)}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{said}; there are {', '.join(names[:_SHOWN])}{more}"


def add_signature(parser: argparse.ArgumentParser) -> None:
    """Adds `--by` and `--timeout` of a verb."""
    parser.add_argument("--by", help="refuse to ask unless the API server knows you by this name")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="TIME",
        help="how long to wait for what comes of it (default: 60s)",
    )


async def signature(cluster: Cluster, by: str | None) -> str:
    """Who signs a verb: the name by which the API server knows the user, which the admission policy compares.

    Raises:
        ClusterError: it is another one than `by`, or the API server does not say it and `by` is not given.
    """
    try:
        me = await cluster.whoami()
    except ClusterError as error:
        if by is None or error.status not in (403, 404):
            raise
        return by
    if by is not None and by != me:
        raise ClusterError(f"--by {by}: the API server knows you as {me}; nobody signs for somebody else", 403)
    return me


def seconds(text: str) -> float:
    """Seconds of `90`, `90s` or `1h30m`.

    Raises:
        argparse.ArgumentTypeError: it is none, or longer than a year.
    """
    try:
        found = float(text) if text.replace(".", "", 1).isdecimal() else parse_duration(text, "time").total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, or seconds") from None
    if found > _LONGEST:
        raise argparse.ArgumentTypeError("at most 365d")
    return found
