"""How long a gateway may take to stop: it follows from what one request may take, so that a drawn decision is answered.

Belongs here: the times that the gateway's process and its pod both keep. Does not belong here: signals (gateway/__main__.py)
and manifests (core/endpoint/manifests.py).
"""

import math

PRE_STOP_SECONDS = 5
"""How long a pod that leaves goes on answering as before: a Service learns late that it leaves."""
_CLOSING_SECONDS = 10
_WAITS_AND_ASKS = 3
_STATEMENTS = 5
_SLACK_SECONDS = 5
SPOOL_GRACE_SECONDS = 120
"""How long a gateway whose spool goes with its pod waits for the database before it ends: a failover, a restart of the server."""


def graceful_seconds(decision_timeout: float, database_timeout: float) -> int:
    """Seconds that requests under way get to end, once no new ones are taken.

    The longest request waits for its scope, asks, and asks again at a flip, each at most as long as a decision may take;
    between that are a few statements of the database.

    Args:
        decision_timeout: seconds of `timeouts.decision`.
        database_timeout: seconds of `timeouts.database`.
    """
    return math.ceil(_WAITS_AND_ASKS * decision_timeout + _STATEMENTS * database_timeout + _SLACK_SECONDS)


def pod_grace_seconds(decision_timeout: float, database_timeout: float, spool_grace: float = 0) -> int:
    """Seconds between the deletion of a gateway's pod and its kill: the pause before the signal, the requests, the spool, and closing."""
    requests = graceful_seconds(decision_timeout, database_timeout)
    return PRE_STOP_SECONDS + requests + math.ceil(spool_grace) + _CLOSING_SECONDS
