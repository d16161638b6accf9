"""The report as a browser lays it out: legible on a phone and a desk, in both colour schemes."""

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from reports import NOW, PROMOTED, bundle, data, evaluated, model_version, paired, trained, training_run, written
from tradewind.api.model_version import ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.cli.report_data import read_bundle
from tradewind.cli.report_manifest import read_manifest
from tradewind.cli.report_page import render_page as render
from tradewind.cli.report_training import render_training
from tradewind.cli.report_version import render_version

FIGURES = {"pairs": 4, "training": 2, "version": 2}
DOTTED = {"pairs": 2, "pairs, idle": 1, "version": 2}
PROBE = Path(__file__).with_name("report_probe.html")


def test_colours_can_be_told_from_their_ground_in_both_schemes() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    schemes = re.findall(r":root \{(.*?)\}", render(data()), re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", scheme))
        on_card = ("ink", "soft", "baseline", "candidate", "better", "worse", "even")
        pairs = [(name, "card") for name in on_card] + [(f"{t}-ink", f"{t}-bg") for t in ("good", "bad", "flat")]
        for name, ground in [*pairs, ("soft", "page")]:
            dark, light = sorted((luminance(colours[name]), luminance(colours[ground])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def measure(pages: dict[str, str], widths: tuple[int, ...], folder: Path) -> list[dict[str, Any]]:
    """What a headless Chromium lays out, for each page in a frame of each width; one start for all."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("Chromium is not installed: `apt-get install chromium`")
    frames = [
        f'<iframe name="{name}" style="border:0;width:{width}px;height:9000px" srcdoc="{escape(page)}"></iframe>'
        for name, page in pages.items()
        for width in widths
    ]
    (folder / "probe.html").write_text(PROBE.read_text().replace("<!-- frames -->", "".join(frames)))
    flags = ["--headless", "--disable-gpu", "--no-first-run", f"--user-data-dir={folder / 'profile'}"]
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [chromium, *flags, *sandbox, "--dump-dom", (folder / "probe.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    answer = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert answer, f"no measurement: exit {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
    return list(json.loads(unescape(answer[1])))


@pytest.mark.browser
def test_phones_and_desks_show_it_whole_and_legible(tmp_path: Path) -> None:
    long_name = "lora-" + "deepseek-r1-distill-qwen-" * 2 + "1234567"
    one_arm = bundle(arms=[{"name": "v1", "role": "candidate", "costCNY": 1.5}])
    one_arm["trades"] = [row for row in one_arm["trades"] if row["arm"] == "baseline"]
    long_version = model_version(evaluated()) | {"metadata": {"name": long_name[:50], "namespace": "trading"}}
    long_version["status"]["evaluation"]["baseline"]["version"] = long_name
    pages = {
        "decided": render(data(**PROMOTED)),
        "one arm": render(read_bundle(one_arm, NOW)),
        "long": render(written(lambda _: long_name)),
        "pairs": render(paired()),
        "pairs, long": render(paired(long_name)),
        "pairs, huge": render(paired(factor=9e5)),
        "pairs, idle": render(paired(idle=True)),
        "training": render_training(read_manifest(TrainingRun, training_run(trained())), NOW),
        "version": render_version(read_manifest(ModelVersion, model_version(evaluated())), NOW),
        "version, long": render_version(read_manifest(ModelVersion, long_version), NOW),
    }
    found = measure(pages, (390, 1280), tmp_path)
    assert [(page["name"], page["inner"]) for page in found] == [(name, w) for name in pages for w in (390, 1280)]
    for page in found:
        where = f"{page['name']} at {page['inner']} px"
        assert page["scroll"] <= page["inner"], where
        assert page["requests"] == 0, where
        assert len(page["figures"]) == FIGURES.get(page["name"].partition(",")[0], 3), where
        for figure in page["figures"]:
            assert len(figure) >= 6, where
            for number, text in enumerate(figure):
                left, top, right, bottom = text["box"]
                assert text["px"] >= 10, (where, text)
                assert left >= 0, (where, text)
                assert right <= page["inner"], (where, text)
                covered = [
                    other["text"]
                    for other in figure[number + 1 :]
                    if left < other["box"][2]
                    and other["box"][0] < right
                    and top < other["box"][3]
                    and other["box"][1] < bottom
                ]
                assert not covered, (where, text["text"], covered)
        assert page["tables"], where
        for table in page["tables"]:
            assert table, f"{where}: a table outside of a container that scrolls"
            assert (table["overflow"], table["focus"]) == ("auto", 0), where
            assert table["right"] <= page["inner"], where
            assert table["table"] <= table["holder"], where
            if "told" in table["class"] and page["inner"] == 390 and "long" not in page["name"]:
                assert table["holder"] <= table["room"], (where, table)
        for dots in page["dots"]:
            assert dots["marks"] >= 0, where
            for side, edge, sign in zip(dots["box"], dots["plot"], (1, 1, -1, -1), strict=True):
                assert sign * (side - edge) >= -0.5, (where, dots)
        clouds = [dots for dots in page["dots"] if dots["marks"]]
        assert len(clouds) == DOTTED.get(page["name"], DOTTED.get(page["name"].partition(",")[0], 0)), where
        for cloud in clouds:
            assert cloud["round"] >= 3.0, (where, cloud)  # a stroke without length is as wide as its ends
