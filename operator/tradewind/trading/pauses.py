"""Keeping the garbage collector's pauses out of a decision's milliseconds.

Belongs here: what a server's process does about its heap before it listens. Does not belong here: what it keeps per request.
"""

import gc


def keep_for_good() -> None:
    """Takes what a process has loaded so far out of the collector's sight; call it last before serving.

    A full collection walks over every object that may be part of a cycle. A gateway has hundreds of thousands of them from
    its libraries alone, a predictor millions: 30 ms and more in which no request is served, and none of it is ever garbage.
    """
    gc.collect()
    gc.freeze()
