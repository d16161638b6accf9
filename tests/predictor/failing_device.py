"""The predictor with a device that fails from a moment on: `python failing_device.py FILE [options of the predictor]`.

Once FILE exists each call of the model raises what CUDA raises after an error that stays.
"""

import sys
from pathlib import Path
from typing import Any

from tradewind.predictor import loader
from tradewind.predictor.__main__ import main
from tradewind.predictor.loader import Loaded
from tradewind.predictor.settings import Settings

broken = Path(sys.argv.pop(1))
load = loader.load


def load_on_it(settings: Settings) -> Loaded:
    loaded = load(settings)

    def fail(*_: Any) -> None:
        if broken.exists():
            raise RuntimeError("CUDA error: device-side assert triggered")

    loaded.model.register_forward_pre_hook(fail)
    return loaded


loader.load = load_on_it
sys.exit(main(sys.argv[1:]))
