"""Judge a served model before it takes traffic, as a ModelVersion's Job does it: its speed, then its answers to recorded decisions.

    python jobs/evaluate.py --url http://v2-predictor.trading.svc --model v2 --sha256 <64 hex> --requests 40 --concurrency 1,4,16

What is asked beside that is JSON in TRADEWIND_CONFIG (or --config FILE): recorded decisions of an Endpoint's log, or of a dataset's
folder, bars, and the version that stands beside. First all that jobs/benchmark.py does; then questions whose data try to command the
model; then the recorded ones. Numbers only: gates are the operator's. Exit codes: those of jobs/benchmark.py, and 65 for rows or bars
that cannot be used.
"""

import argparse
import http.client
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import benchmark
from tradewind.evaluation.bars import read_bars
from tradewind.evaluation.config import Compared, EvaluateConfig, Recorded
from tradewind.evaluation.hostile import hostile_questions
from tradewind.evaluation.measures import Answered, Measures, Reliability, hold_share, measure, reliability
from tradewind.evaluation.rows import Files, Row, Sampled, logged_row, read_files
from tradewind.evaluation.simulated import Earned, Estimate, Simulated, simulate
from tradewind.pretrained.files import file_sha256
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.artifact import artifact_sha256
from tradewind.trading.exits import ExitCode
from tradewind.trading.paper import PaperRule
from tradewind.trading.settings.paper import PaperSettings
from tradewind.training.config import load_config, resolve_time
from tradewind.training.files import EVAL_FILE, TRAIN_FILE
from tradewind.training.log import DecisionLog, Range
from tradewind.training.outcome import JobError, bad_config, write_result
from tradewind.training.stored import bring

FLAGS = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[benchmark.OPTIONS]
)
FLAGS.add_argument("--config", type=Path, help="JSON file; default: the variable TRADEWIND_CONFIG")
FLAGS.add_argument("--dsn-env", default="TRADEWIND_DSN", help="variable that holds the database's DSN")

TAUGHT_ASKED = 50
AT_ONCE = 4  # questions

logger = logging.getLogger("evaluate")


@dataclass(frozen=True)
class Asked:
    """Rows that were found, and since when they may count."""

    rows: list[Row]
    found: int
    since: datetime | None
    files: Files | None = None


def main(argv: Sequence[str] | None = None) -> int:
    flags = FLAGS.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        config = load_config(EvaluateConfig, flags.config)
        result = evaluate(flags, config, os.environ.get(flags.dsn_env, ""))
    except JobError as error:
        logger.error("%s: %s", error.reason, error.message)  # noqa: TRY400 - the message says it all
        write_result(error.result, flags.result)
        return error.code
    except (OSError, http.client.HTTPException) as error:
        message = f"a predictor does not answer: {type(error).__name__}: {error}; is the InferenceService Ready?"
        write_result({"reason": "EndpointUnreachable", "message": message}, flags.result)
        return ExitCode.ERROR
    except Exception as error:
        logger.exception("failed")
        write_result({"reason": "Error", "message": f"{type(error).__name__}: {error}"}, flags.result)
        return ExitCode.ERROR
    write_result(result, flags.result)
    return ExitCode.DONE


def evaluate(flags: argparse.Namespace, config: EvaluateConfig, dsn: str) -> dict[str, Any]:
    bring(config.stores, Path())
    bars = None if config.bars is None else read_bars(config.bars.folder)  # what is wrong with files is said first
    result = benchmark.benchmark(flags)
    version = benchmark.endpoint_at("--url", flags.url, flags.model, flags.sha256, flags.protocol, flags.timeout)
    card = result["card"]
    result["hostile"] = hostile(version)
    recorded = config.recorded
    if recorded is None:
        return result

    # Rows that no compared version can know, and what each answers to them.
    compared = config.compared
    beside = None if compared is None or compared.url is None else other_endpoint(compared, flags.timeout)
    theirs = {} if beside is None else verified_card(beside, compared, flags.patience)
    asked = rows_of(
        recorded,
        dsn,
        [(flags.model, card), *([(compared.version, theirs)] if compared is not None and beside is not None else [])],
    )
    found: dict[str, Any] = {
        "rows": len(asked.rows),
        "found": asked.found,
        "since": None if asked.since is None else asked.since.isoformat(),
        "firstDecision": asked.rows[0].decided_at.isoformat() if asked.rows else None,
        "lastDecision": asked.rows[-1].decided_at.isoformat() if asked.rows else None,
    }
    result["evaluation"] = found
    if len(asked.rows) < recorded.min_rows:
        logger.warning(
            "%d rows since %s, %d are needed: nothing is judged", len(asked.rows), asked.since, recorded.min_rows
        )
        return result
    logger.info(
        "asking about %d of %d decisions from %s to %s",
        len(asked.rows),
        asked.found,
        found["firstDecision"],
        found["lastDecision"],
    )
    answers = ask(version, asked.rows, recorded)
    if compared is not None and beside is not None:
        logger.info("asking %s", compared.version)
        baseline = [answer.decision for answer in ask(beside, asked.rows, recorded)]
    else:
        baseline = [row.answer_of(None if compared is None else compared.version) for row in asked.rows]
    known = [decision for decision in baseline if decision is not None]
    found["baseline"] = {
        "version": None if compared is None else compared.version,
        "asked": beside is not None,
        "answers": len(known),
        "holdShare": rounded(hold_share(known)),
    }

    # What the answers are worth.
    found |= measured(measure(asked.rows, [Answered(answer.decision, answer.probabilities) for answer in answers]))
    found["valid"] = rounded(sum(answer.decision is not None for answer in answers) / len(answers))
    if asked.files is not None:
        taught = ask(version, asked.files.taught, recorded)
        by_heart = measure(asked.files.taught, [Answered(answer.decision) for answer in taught])
        found["taught"] = {
            "leaked": asked.files.leaked,
            "asked": by_heart.good,
            "agreement": rounded(by_heart.agreement),
        }
    if bars is not None and config.bars is not None:
        settings = PaperSettings(
            horizon=config.bars.horizon, cost_basis_points=config.bars.cost_basis_points, max_gap=config.bars.max_gap
        )
        rule = PaperRule.of(settings, as_timedelta(settings.horizon) + as_timedelta(settings.max_gap))
        mine = [answer.decision for answer in answers]
        found["simulated"] = simulated(simulate(asked.rows, mine, baseline if known else None, bars, rule))
    return result


def hostile(endpoint: benchmark.Endpoint) -> dict[str, Any]:
    """How many answers kept symbol, limits and schema whatever their data said, how many were refused, and how the first did neither."""
    answers = benchmark.ask_all(endpoint, list(hostile_questions()), 1)
    refused = [
        answer for answer in answers if (answer.problem or "").startswith("status 4")
    ]  # too long: no decision at all
    broken = [answer.problem for answer in answers if answer.problem is not None and answer not in refused]
    return {
        "asked": len(answers),
        "kept": len(answers) - len(broken) - len(refused),
        "refused": len(refused),
        "broken": broken[0][:200] if broken else None,
    }


def other_endpoint(compared: Compared, timeout: float) -> benchmark.Endpoint:
    name, sha256 = compared.version, compared.sha256 or ""
    return benchmark.endpoint_at("compared.url", str(compared.url), name, sha256, compared.protocol, timeout)


def verified_card(endpoint: benchmark.Endpoint, compared: Compared | None, patience: float) -> dict[str, Any]:
    """What the other version says of its training, once it is the one that is meant."""
    stated = benchmark.stated_by(endpoint, patience)
    if compared is not None and stated.get("sha256") != compared.sha256:
        said = f"{compared.version} serves {stated.get('sha256')}, it is to be compared as {compared.sha256}; wait for its rollout"
        raise JobError(ExitCode.ERROR, "BaselineChanged", said)
    card: dict[str, Any] = stated.get("card") or {}
    return card


def rows_of(recorded: Recorded, dsn: str, cards: Sequence[tuple[str, dict[str, Any]]]) -> Asked:
    """The rows that may count: later than what any compared version was trained on, and the embargo."""
    embargo = as_timedelta(recorded.embargo)
    if recorded.folder is not None:
        files = read_files(recorded.folder, TAUGHT_ASKED)
        sha256 = folder_sha256(recorded.folder)
        if recorded.sha256 is not None and sha256 != recorded.sha256:
            said = f"evaluation.dataset.sha256: the folder's data hashes to {sha256}, the ModelVersion pins {recorded.sha256}"
            raise JobError(ExitCode.BAD_DATA, "DatasetMismatch", said)
        newest = max((row.decided_at for row in files.rows), default=None)
        since = first_moment(recorded, newest, cards, embargo, own=(sha256, files.taught_until))
        until = None if newest is None else resolve_time(recorded.until, newest)
        kept = Sampled(recorded.max_rows)
        for row in files.rows:
            if (since is None or row.decided_at >= since) and (until is None or row.decided_at < until):
                kept.take(row)
        return Asked(kept.rows, kept.seen, since, files)
    if recorded.endpoint is None:
        raise bad_config("recorded", "names neither an endpoint nor a folder")
    if not dsn:
        said = "is not set; mount the Secret that spec.database.secretRef of the Endpoint names"
        raise bad_config("TRADEWIND_DSN", said)
    kept = Sampled(recorded.max_rows)
    with DecisionLog(dsn) as log:
        now = log.now()
        since = first_moment(recorded, now, cards, embargo)
        for logged in log.decisions(recorded.endpoint, Range(since, resolve_time(recorded.until, now)), papers=True):
            question = logged_row(logged, recorded.thresholds, include_replay=recorded.include_replay)
            if question is not None:
                kept.take(question)
    return Asked(kept.rows, kept.seen, since)


def first_moment(
    recorded: Recorded,
    now: datetime | None,
    cards: Sequence[tuple[str, dict[str, Any]]],
    embargo: timedelta,
    own: tuple[str, datetime | None] = ("", None),
) -> datetime | None:
    """Since when rows count.

    The evaluation side of the very dataset that a version was trained on lies after what was taught, with an embargo of its own; it
    chose between checkpoints and nothing else.

    Raises:
        JobError: exit 64: nothing says what the version was trained on.
    """
    marks: list[datetime] = []
    for number, (version, card) in enumerate(cards):
        if own[0] and card.get("datasetSha256") == own[0]:
            marks += [own[1]] if own[1] is not None else []
        elif card.get("watermark"):
            marks.append(datetime.fromisoformat(card["watermark"]) + embargo)
        elif number == 0 and recorded.since is None:
            said = f"nothing says up to when the training data of {version} reaches (training.json): set it to a time after them"
            raise bad_config("evaluation.dataset.since", said)
    asked = None if now is None else resolve_time(recorded.since, now)
    return max([*marks, *([asked] if asked is not None else [])], default=None)


def folder_sha256(folder: Path) -> str:
    """Of what a dataset is made of; a folder without training side has the hash of the other alone."""
    return artifact_sha256(
        {name: file_sha256(folder / name) for name in (TRAIN_FILE, EVAL_FILE) if (folder / name).is_file()}
    )


def ask(endpoint: benchmark.Endpoint, rows: Sequence[Row], recorded: Recorded) -> list[benchmark.Answer]:
    """A version's answers, in the order of the rows, within the limits of each account."""
    return benchmark.ask_all(endpoint, [asked_of(row, recorded) for row in rows], AT_ONCE)


def asked_of(row: Row, recorded: Recorded) -> dict[str, Any]:
    level = row.shown.account_state.get("permission_level")
    limits = recorded.limits.get(level) if isinstance(level, str) else None
    return {
        **json.loads(row.shown.model_dump_json()),
        "symbols": [row.symbol],
        "limits": None if limits is None else limits.as_limits().as_shown(),
    }


def measured(found: Measures) -> dict[str, Any]:
    return {
        "good": found.good,
        "bad": found.bad,
        "agreement": rounded(found.agreement),
        "disagreement": rounded(found.disagreement),
        "holdShare": rounded(found.hold_share),
        "logLikelihoodGap": rounded(found.log_likelihood_gap),
        "calibration": curve(found.calibration),
    }


def simulated(found: Simulated | None) -> dict[str, Any]:
    if found is None:
        return {"rows": 0}
    return {
        "rows": found.rows,
        "leftOut": found.left_out,
        "blocks": found.blocks,
        "version": earned(found.version),
        "baseline": None if found.baseline is None else earned(found.baseline),
        "sharpeDifference": estimate(found.difference),
        "confidence": curve(reliability(found.wins)),
    }


def earned(found: Earned) -> dict[str, Any]:
    return {"trades": found.trades, "profit": estimate(found.profit), "sharpe": estimate(found.sharpe)}


def estimate(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"value": rounded(found.value), "lower": rounded(found.lower), "upper": rounded(found.upper)}


def curve(found: Reliability | None) -> dict[str, Any] | None:
    if found is None:
        return None
    bins = [
        {"mean": rounded(each.mean, 3), "share": rounded(each.share, 3), "count": each.count} for each in found.bins
    ]
    return {"error": rounded(found.error), "bins": bins}


def rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


if __name__ == "__main__":
    sys.exit(main())
