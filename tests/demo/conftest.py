"""The demo is run from the repository's root (`python -m demo.run`) and is no part of the distribution."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
