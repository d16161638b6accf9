"""`python -m tradewind.gateway`: one replica behind uvicorn, configured by the environment.

Belongs here: process concerns (logging, signals, exit codes). Exit code 64 means that a setting is wrong.
"""

import contextlib
import logging
import os
import signal
import sys
from typing import NoReturn

import structlog
import uvicorn

from tradewind.gateway.app import create_app
from tradewind.gateway.connections import bounded
from tradewind.gateway.liveness import Heartbeat, answering
from tradewind.gateway.settings import Settings, SettingsError
from tradewind.trading.exits import ExitCode
from tradewind.trading.pauses import keep_for_good
from tradewind.trading.stopping import graceful_seconds


def main() -> NoReturn:
    """Runs until a signal comes."""
    configure_logging()
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(f"tradewind.gateway: {error}", file=sys.stderr)
        raise SystemExit(ExitCode.BAD_CONFIG) from None
    # uvicorn ends the requests under way and then raises the signal once more, which would be exit code 143.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    heartbeat = Heartbeat()
    app = create_app(settings, heartbeat)
    keep_for_good()
    with contextlib.ExitStack() as stack:
        if settings.health_port:
            stack.enter_context(answering(heartbeat, settings.host, settings.health_port))
        uvicorn.run(
            app,
            host=settings.host,
            port=settings.port,
            http=bounded(settings.request_timeout, settings.max_connections),
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=graceful_seconds(settings.decision_timeout, settings.database_timeout),
        )
    raise SystemExit(0)


def configure_logging() -> None:
    """JSON lines on stdout, our own and those of libraries from WARNING up."""
    shared: list[structlog.typing.Processor] = [
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
