"""All benchmarks, one after the other: `make bench`, or `python benchmarks`.

Each is a program of its own (`python benchmarks/gateway.py`); here their last lines become one table, with how long each took.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    failed = []
    for script in sorted(FOLDER.glob("[!_]*.py")):
        print(f"== {script.stem}", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            failed.append(script.stem)
            print(f"   failed with {done.returncode} after {time.monotonic() - began:.0f} s", flush=True)
            continue
        for name, ratio in json.loads(done.stdout.splitlines()[-1])["ratios"].items():
            met = "met" if ratio["value"] >= ratio["goal"] else "missed"
            print(f"   {name:45} {ratio['value']:8.2f}  goal {ratio['goal']:g}: {met}", flush=True)
        print(f"   {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
