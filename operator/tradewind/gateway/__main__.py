"""`python -m tradewind.gateway`: one replica of the gateway of one or several Endpoints, configured by the environment.

Belongs here: process concerns (logging, signals, exit codes). Exit code 64 means that a setting is wrong.
"""

import contextlib
import logging
import os
import signal
import sys
from typing import NoReturn

import structlog

from tradewind.gateway import servers
from tradewind.gateway.app import create_apps
from tradewind.gateway.guests import all_settings
from tradewind.gateway.liveness import Heartbeat, answering
from tradewind.gateway.settings import SettingsError
from tradewind.trading.exits import ExitCode
from tradewind.trading.pauses import keep_for_good


def main() -> NoReturn:
    """Runs until a signal comes."""
    configure_logging()
    try:
        settings = all_settings(os.environ)
    except SettingsError as error:
        print(f"tradewind.gateway: {error}", file=sys.stderr)
        raise SystemExit(ExitCode.BAD_CONFIG) from None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until there is a server that can end its requests
    heartbeat = Heartbeat()
    apps = create_apps(settings, heartbeat)
    keep_for_good()
    with contextlib.ExitStack() as stack:
        if settings[0].health_port:
            stack.enter_context(answering(heartbeat, settings[0].host, settings[0].health_port))
        servers.run(list(zip(settings, apps, strict=True)))
    raise SystemExit(0)


def configure_logging() -> None:
    """JSON lines on stdout, our own and those of libraries from WARNING up."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


if __name__ == "__main__":
    main()
