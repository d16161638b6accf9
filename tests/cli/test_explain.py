"""What `tradewind explain` says by its exit code, for scripts that read nothing else."""

from datetime import UTC, datetime

from tradewind.api.common import API_VERSION
from tradewind.cli.explain import exit_code
from tradewind.core.explain import Node, Ref, cause, explain

NOW = datetime(2026, 1, 3, tzinfo=UTC)
READY = {
    "kind": "Endpoint",
    "metadata": {"name": "trader"},
    "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]},
}
NO_PODS = Node(Ref("v1", "Pod", selector="a=b"))
REFUSED = Node(Ref("v1", "Pod", selector="a=b"), refused="may not list Pod")
MISSING = Node(Ref(API_VERSION, "ModelVersion", "v2"))


def code(*below: Node) -> int:
    """Exit code where a ready Endpoint rests on these."""
    lines = explain(Node(Ref(API_VERSION, "Endpoint", "trader"), READY, rests_on=below), (), NOW)
    return exit_code(lines, cause(lines))


def test_a_chain_of_which_a_part_may_not_be_read_is_not_called_right() -> None:
    assert code(NO_PODS) == 0
    assert code(NO_PODS, REFUSED) == 2
    assert code(REFUSED, MISSING) == 3
