"""`python -m tradewind.predictor --model-name v1 --base DIR [--adapter DIR] --sha256 HEX ...`: see `settings`.

Exit codes: 0 stopped; 64 bad settings or unusable files; 65 the artifact is not the pinned one, or not one with its base; 66 the
tokenizer changes text; 70 the weights do not load, or the model fails. The reason is left in the termination log as JSON.
"""

import logging
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tradewind.predictor.artifact import verify_artifact, verify_base, verify_trained_base
from tradewind.predictor.failure import StartError
from tradewind.predictor.settings import DEFAULT_TERMINATION_LOG, parse_settings
from tradewind.trading.exits import ExitCode


def main(argv: Sequence[str]) -> int:
    """Serve until stopped; the exit code."""
    termination_log = _termination_log(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        settings = parse_settings(argv)
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one inference thread, and pods have few cores
        os.environ.setdefault("USER", "tradewind")  # torch asks for a name, and a pod's numeric user has none
        sys.argv = sys.argv[:1]  # kserve parses the command line when imported, and it is not addressed to it
        sha256 = verify_artifact(settings.adapter or settings.base, settings.sha256)  # before the slow imports
        if settings.base_sha256 is not None:
            verify_base(settings.base, settings.base_sha256)
        base_matches = None
        if settings.adapter is not None:
            allow = settings.base_mismatch == "allow"
            base_matches = verify_trained_base(settings.adapter, settings.base, settings.base_sha256, allow=allow)
        from tradewind.predictor.server import serve

        serve(settings, sha256, base_matches)
    except StartError as error:
        error.write(termination_log)
        return error.code
    except Exception as error:
        logging.getLogger("tradewind.predictor").exception("the server failed")
        StartError(ExitCode.LOAD_FAILED, "ServerFailed", f"{type(error).__name__}: {error}").write(termination_log)
        return ExitCode.LOAD_FAILED
    return 0


def _termination_log(argv: Sequence[str]) -> Path:
    """Where to leave the reason, also when the rest of the command line is wrong."""
    for option, value in pairwise(argv):
        if option == "--termination-log":
            return Path(value)
    return DEFAULT_TERMINATION_LOG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
