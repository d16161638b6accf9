"""What came of a verb is told once: in the history, in an Event and in the log, with who asked and why it was refused."""

from typing import Any

import pytest
from server_double import Server, key, reconciler, thing

SPEC = {"endpointRef": {"name": "trader"}, "candidate": "v1", "onPromote": {"approval": "manual"}}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "tradewind.shell.reconcile.log.info", lambda event, **said: lines.append({"event": event} | said)
    )
    return lines


def experiment(phase: str, **annotations: str) -> dict[str, Any]:
    made = thing("ABExperiment", "ab", SPEC)
    made["metadata"]["annotations"] = {f"tradewind.dev/{name}": value for name, value in annotations.items()}
    return {**made, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("phase", "verb", "result", "reason"),
    [
        ("Pending", "approve", "refused", "NothingToApprove"),
        ("Pending", "resume", "refused", "NotPaused"),
        ("Pending", "abort", "done", "Aborted"),
        ("Aborted", "pause", "refused", "Over"),
        ("Succeeded", "abort", "refused", "Over"),
    ],
)
async def test_a_verb_is_answered_once_everywhere(
    phase: str, verb: str, result: str, reason: str, told: list[dict[str, Any]]
) -> None:
    server = Server(experiment(phase, **{verb: "r1", "by": "ada"}))
    reconcile = reconciler(server)
    for _ in range(3):
        await reconcile(key("ABExperiment", "ab"))
    status = server.status("ABExperiment", "ab")
    (entry,) = [e for e in status["history"] if e.get("verb")]
    assert (entry["verb"], entry["request"], entry["by"], entry["result"]) == (verb, "r1", "ada", result)
    assert (entry["reason"], status["lastHandled"]) == (reason, {verb: "r1"})
    (line,) = [line for line in told if line["event"] == "verb"]
    assert (line["verb"], line["by"], line["result"], line["reason"]) == (verb, "ada", result, reason)
    assert line["message"] == entry["message"]
    assert line["time"]
    own = [call for call in server.calls if call.startswith(f"event {reason}")]
    assert own[-1] == f"event {reason}" + (" warning" if result == "refused" else "")
    flipped = 3 if verb == "abort" and result == "done" else 0  # Running, EvidenceKnown, Succeeded
    assert len(own) == 1 + flipped
