"""Two namespaces of one installation share the embedded database: what one's Secret opens, and what it does not."""

import psycopg
import pytest
from installation import RELEASE, SYSTEM, Installation
from psycopg import errors
from psycopg.conninfo import make_conninfo
from space import Space

from manifests import endpoint, external
from workshop.client import Cluster

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def trader(space: Space) -> Space:
    """A namespace with an Endpoint that has decided."""
    space.apply(external("api", "against"), endpoint("trader", "api"))
    space.wait_condition("Endpoint", "trader", "Ready", seconds=120)
    with space.gateway("trader") as gateway:
        gateway.decide("theirs-to-see")
    return space


def neighbour(installation: Installation, trader: Space) -> str:
    """The connection string in the Secret of another namespace of the tests."""
    other = next(name for name in installation.namespaces if name != trader.name)
    return installation.database.tenant_dsn(other)


def test_the_gateways_role_is_its_namespaces(installation: Installation, trader: Space) -> None:
    rows = installation.database.sql(
        "SELECT DISTINCT database_role FROM tradewind.decisions WHERE namespace = %s AND decision_id = 'theirs-to-see'",
        trader.name,
    )
    with psycopg.connect(installation.database.tenant_dsn(trader.name)) as connection:
        assert connection.execute("SELECT current_user::name").fetchall() == rows
        assert connection.execute("SELECT namespace FROM tradewind.tenant()").fetchone() == (trader.name,)
        assert connection.execute(
            "SELECT count(*) FROM tradewind.decisions WHERE decision_id = 'theirs-to-see'"
        ).fetchone() == (1,)


def test_a_neighbours_secret_reads_nothing_of_it_and_forges_nothing(installation: Installation, trader: Space) -> None:
    dsn = neighbour(installation, trader)
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute("SELECT count(*) FROM tradewind.decisions WHERE namespace = %s", [trader.name])
        assert found.fetchone() == (0,)
        for attempt in (
            f"INSERT INTO tradewind.replay_clock VALUES ('e2e', '{trader.name}', 'trader', now())",
            (
                f"INSERT INTO tradewind.promotions (installation, namespace, endpoint, version, reason) VALUES ('e2e', '{trader.name}',"
                " 'trader', 'mine', 'PromotedByHand')"
            ),
            "UPDATE tradewind.experiments SET decision = 'rollback', decided_at = now()",
            "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'",
            "COPY tradewind.replay_clock FROM PROGRAM 'id'",
            "SELECT pg_read_file('/etc/passwd')",
            "CREATE TEMP TABLE t (x int)",
            "SET ROLE tradewind",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(attempt)


def test_no_superuser_comes_in_from_outside(installation: Installation) -> None:
    owner = installation.database.dsn
    with psycopg.connect(owner, autocommit=True) as connection:
        assert connection.execute("SELECT rolname FROM pg_roles WHERE rolsuper").fetchall() == [("postgres",)]
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'")
    with pytest.raises(psycopg.OperationalError, match="pg_hba"):
        psycopg.connect(make_conninfo(owner, user="postgres"), connect_timeout=10)


def test_the_owners_string_is_in_no_namespace_of_the_tests(
    cluster: Cluster, installation: Installation, trader: Space
) -> None:
    for namespace in installation.namespaces:
        assert cluster.get("Secret", f"{RELEASE}-database-owner", namespace) is None
        assert installation.database.password not in installation.database.tenant_dsn(namespace)


def test_the_installation_is_registered_for_this_cluster(cluster: Cluster, installation: Installation) -> None:
    uid = cluster.must_get("Namespace", "kube-system", "")["metadata"]["uid"]
    ((registered, holder),) = installation.database.sql(
        "SELECT cluster_uid, holder FROM tradewind.installations WHERE installation = 'e2e'"
    )
    assert registered == uid
    (pod,) = installation.operator_pods()
    assert holder == f"{SYSTEM}/{pod['metadata']['name']}"
