"""`python -m tradewind.stores`: fetch what TRADEWIND_STORES names, as a predictor's init container does.

Exit codes: 0 all is there and verified; 64 bad configuration, key or bucket; 65 a file is missing, cut or another one; 69 the store
does not answer. The reason is left in the termination log as JSON.
"""

import json
import logging
import os
import sys
from pathlib import Path

from pydantic import ValidationError

from tradewind.pretrained.fault import UnfitError, unfit_config
from tradewind.stores.bucket import Bucket
from tradewind.stores.folders import fetch_folder
from tradewind.trading.exits import ExitCode
from tradewind.trading.settings.stores import STORES_VARIABLE, Stores

TERMINATION_LOG = Path("/dev/termination-log")


def main() -> int:
    """Fetch; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        fetch_all(_asked())
    except UnfitError as error:
        _tell(error.reason, error.message)
        return error.code
    except OSError as error:
        _tell(ExitCode.BAD_CONFIG.reason, f"{error.filename}: {error.strerror}: mount a writable volume with room")
        return ExitCode.BAD_CONFIG
    return ExitCode.DONE


def fetch_all(stores: Stores) -> None:
    """Every folder that is to be read.

    Raises:
        StoreError: of the first that cannot be.
    """
    for folder in stores.read:
        fetch_folder(Bucket(folder), folder.path, sha256=folder.sha256, only=folder.only)


def _asked() -> Stores:
    try:
        return Stores.model_validate_json(os.environ.get(STORES_VARIABLE, ""))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise unfit_config(f"{STORES_VARIABLE}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _tell(reason: str, message: str) -> None:
    text = json.dumps({"reason": reason, "message": message[:2000]})
    print(text, file=sys.stderr)
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
