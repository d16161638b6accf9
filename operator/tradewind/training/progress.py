"""Progress pushed to the operator: at most one request per interval, from a thread of its own, never in training's way.

Belongs here: the request and its rate. Does not belong here: what is measured. A push that fails is logged and forgotten: the
next one says more.
"""

import json
import logging
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

TIMEOUT_SECONDS: Final = 5.0
Progress = Mapping[str, object]

_logger = logging.getLogger(__name__)


@dataclass
class ProgressReporter:
    """Sends the newest progress to a URL.

    Attributes:
        url: None sends nothing.
        token_file: a projected ServiceAccount token, read anew for each push because the kubelet renews it; None sends none.
        seconds: least time between two pushes.
    """

    url: str | None
    token_file: Path | None = None
    seconds: float = 10.0
    _last: float = field(default=float("-inf"), init=False)
    _busy: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def due(self) -> bool:
        """Whether a report would be pushed now: nobody need measure for one that would not."""
        return self.url is not None and time.monotonic() - self._last >= self.seconds

    def report(self, progress: Progress, *, force: bool = False) -> None:
        """Push unless the last push was too recent or is still under way; `force` waits for it and pushes in any case."""
        if self.url is None or not (force or self.due):
            return
        if not self._busy.acquire(timeout=2 * TIMEOUT_SECONDS if force else 0):
            return
        self._last = time.monotonic()
        thread = threading.Thread(target=self._push, args=(self.url, dict(progress)), name="progress", daemon=True)
        thread.start()
        if force:
            thread.join(2 * TIMEOUT_SECONDS)

    def _push(self, url: str, progress: Progress) -> None:
        try:
            headers = {"Content-Type": "application/json"}
            if self.token_file is not None:
                headers["Authorization"] = f"Bearer {self.token_file.read_text(encoding='utf-8').strip()}"
            request = urllib.request.Request(url, json.dumps(progress).encode(), headers)  # noqa: S310 - config allows http(s) alone
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
                response.read()
        except Exception as error:
            _logger.warning("progress was not delivered: %s", error)
        finally:
            self._busy.release()
