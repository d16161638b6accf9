"""Two namespaces on one database, and what each tries against the other, on a real PostgreSQL."""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from tradewind import migrations
from tradewind.cli import migrate, tenant
from tradewind.gateway import report_statements, statements
from tradewind.migrations import tenants

Connection = psycopg.Connection[tuple[Any, ...]]
DECISION = """INSERT INTO tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, request, scope_symbol,
    drawn_version, assignment_key, decided_at) VALUES ('tradewind', %s, 'trader', %s, '', '{"account_state": {"balance": 600}}',
    'BTC', 'api', 'k', now())"""
EXPERIMENT = """INSERT INTO tradewind.experiments (installation, namespace, endpoint, experiment_uid, name, mode, baseline, candidate,
    t0, alpha, spec) VALUES ('tradewind', %s, 'trader', %s, 'n', 'Live', 'api', 'v1', now(), 0.05, '{}')"""


@dataclass
class Desk:
    """The owner's DSN, and those of the namespaces `ours` and `theirs`, each with a row in every table that a gateway writes."""

    owner: str
    ours: str
    theirs: str


@pytest.fixture(scope="module")
def desk(postgres_server: Any) -> Iterator[Desk]:
    database = postgres_server.create_database()
    owner = postgres_server.dsn(database)
    migrations.upgrade(owner)
    made = [tenants.add(owner, "tradewind", name, password="p") for name in ("ours", "theirs")]
    found = Desk(owner, *(tenants.tenant_dsn(owner, each.role, "p") for each in made))
    with psycopg.connect(owner) as connection:
        for namespace in ("ours", "theirs"):
            connection.execute(EXPERIMENT, [namespace, f"e-{namespace}"])
    for namespace, dsn in (("ours", found.ours), ("theirs", found.theirs)):
        with psycopg.connect(dsn) as connection:
            connection.execute(DECISION, [namespace, "d1"])
            connection.execute(
                "UPDATE tradewind.decisions SET state = 'answered', answer = '{}', answered_by = 'api', experiment_uid = %s,"
                " arm = 'candidate', candidate_weight = 0.5",
                [f"e-{namespace}"],
            )
    yield found
    for each in ("ours", "theirs"):
        tenants.remove(owner, "tradewind", each)
    postgres_server.drop_database(database)


@pytest.fixture
def ours(desk: Desk) -> Iterator[Connection]:
    with psycopg.connect(desk.ours) as connection:
        yield connection
        connection.rollback()


def relations(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'tradewind'::regnamespace AND relkind IN ('r', 'v')"
        ).fetchall()
    return sorted(name for (name,) in found)


def test_every_table_and_view_shows_a_namespace_its_own_rows_alone(desk: Desk) -> None:
    with psycopg.connect(desk.owner) as owner:
        for table in ("changes", "decisions", "experiments", "judged_rows", "training_data", "first_decisions"):
            (both,) = owner.execute(f"SELECT count(DISTINCT namespace) FROM tradewind.{table}").fetchone() or (0,)
            assert both == 2, table
    for relation in relations(desk.owner):
        with psycopg.connect(desk.ours) as connection:
            query = sql.SQL("SELECT count(*) FROM tradewind.{} WHERE namespace <> 'ours'").format(
                sql.Identifier(relation)
            )
            if relation in tenants.OWNERS:
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(sql.SQL("SELECT FROM tradewind.{}").format(sql.Identifier(relation)))
            else:
                assert connection.execute(query).fetchone() == (0,), relation


def test_every_table_has_its_policy_and_every_view_asks_as_its_reader(desk: Desk) -> None:
    with psycopg.connect(desk.owner) as connection:
        bare = connection.execute(
            """SELECT relname FROM pg_class c WHERE relnamespace = 'tradewind'::regnamespace AND relkind = 'r'
                  AND NOT (relrowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid))"""
        ).fetchall()
        assert {name for (name,) in bare} == tenants.OWNERS
        # A version that replaces a view takes its options away; the upgrade gives them back.
        connection.execute("ALTER VIEW tradewind.judged_rows RESET (security_invoker)")
        connection.commit()
        migrations.upgrade(desk.owner)
        leaking = connection.execute(
            """SELECT relname FROM pg_class WHERE relnamespace = 'tradewind'::regnamespace AND relkind = 'v'
                  AND NOT coalesce(reloptions, '{}') @> '{security_invoker=true}'"""
        ).fetchall()
        assert leaking == []


@pytest.mark.parametrize(
    "attempt",
    [
        "INSERT INTO tradewind.replay_clock VALUES ('tradewind', 'theirs', 'trader', now())",
        "INSERT INTO tradewind.replay_clock VALUES ('another', 'ours', 'trader', now())",
        "UPDATE tradewind.decisions SET namespace = 'theirs', decision_id = 'forged'",
        ("INSERT INTO tradewind.experiments (installation, namespace, endpoint, experiment_uid, name, mode, baseline, candidate, t0,"
        " alpha, spec) VALUES ('tradewind', 'ours', 'trader', 'x', 'n', 'Live', 'a', 'b', now(), 0.05, '{}')"),
        "UPDATE tradewind.experiments SET decision = 'promote', decided_at = now()",
        "DELETE FROM tradewind.experiments",
        ("INSERT INTO tradewind.promotions (installation, namespace, endpoint, version, reason) VALUES ('tradewind', 'ours', 'trader',"
        " 'mine', 'PromotedByHand')"),
        ("INSERT INTO tradewind.epochs (installation, namespace, endpoint, experiment_uid, block, candidate_weight, reason)"
        " VALUES ('tradewind', 'ours', 'trader', 'e-ours', 0, 1, 'Fixed')"),
        ("INSERT INTO tradewind.papers (installation, namespace, endpoint, decision_id, arm, ret, exit_reason, exit_at, known_at, source)"
        " VALUES ('tradewind', 'ours', 'trader', 'd1', 'candidate', 9, 'x', now(), now(), 'answer')"),
        "DELETE FROM tradewind.events",
        "UPDATE tradewind.events SET body = '{}'",
        "UPDATE tradewind.decisions SET database_role = 'somebody'",
        "DELETE FROM tradewind.changes",
        "TRUNCATE tradewind.decisions CASCADE",
        "SELECT nextval('tradewind.epoch_sequence')",
        "INSERT INTO tradewind.tenants (role, installation, namespace) VALUES (current_user, 'tradewind', 'theirs')",
        "UPDATE tradewind.installations SET cluster_uid = 'mine'",
        "ALTER TABLE tradewind.decisions DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON tradewind.decisions",
        "ALTER TABLE tradewind.decisions DISABLE TRIGGER ALL",
        ("CREATE OR REPLACE FUNCTION tradewind.tenant(OUT installation text, OUT namespace text, OUT unbound boolean) LANGUAGE sql"
        " AS 'SELECT NULL::text, NULL::text, true'"),
        "CREATE TABLE tradewind.mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
        "SET session_replication_role = replica",
        "SET ROLE tradewind",
        "SET SESSION AUTHORIZATION tradewind",
        "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'",
        "COPY tradewind.replay_clock FROM PROGRAM 'id'",
        "COPY tradewind.replay_clock FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('.')",
        "SET row_security = off; SELECT * FROM tradewind.decisions",
    ],
)  # fmt: skip
def test_what_a_tenant_tries_is_refused(ours: Connection, attempt: str) -> None:
    with pytest.raises((errors.InsufficientPrivilege, errors.InvalidParameterValue)):
        ours.execute(attempt)


@pytest.mark.parametrize(
    "attempt",
    [
        "UPDATE tradewind.decisions SET state = 'failed', answer = NULL WHERE namespace = 'theirs'",
        "DELETE FROM tradewind.decisions WHERE namespace = 'theirs'",
    ],
)
def test_rows_of_others_are_as_if_they_were_not_there(ours: Connection, attempt: str) -> None:
    assert ours.execute(attempt).rowcount == 0


def test_no_setting_of_the_session_changes_whose_rows_it_sees(ours: Connection) -> None:
    for setting in (
        "SET search_path = pg_temp, tradewind, public",
        "SET application_name = 'theirs'",
        "SET tradewind.namespace = 'theirs'",
        "CREATE TEMP TABLE tenants (role name, installation text, namespace text)",
        "INSERT INTO pg_temp.tenants VALUES (session_user, 'tradewind', 'theirs')",
        (
            "CREATE FUNCTION pg_temp.tenant(OUT installation text, OUT namespace text, OUT unbound boolean) LANGUAGE sql AS"
            " 'SELECT NULL::text, NULL::text, true'"
        ),
    ):
        ours.execute(setting)
    assert ours.execute("SELECT DISTINCT namespace FROM tradewind.decisions").fetchall() == [("ours",)]
    assert ours.execute("SELECT namespace, unbound FROM tradewind.tenant()").fetchall() == [("ours", False)]


def test_a_function_in_the_condition_sees_no_row_of_others(ours: Connection) -> None:
    """What a condition is asked about would be told by it: the policy comes first."""
    ours.execute("CREATE TEMP TABLE told (namespace text)")
    ours.execute(
        "CREATE FUNCTION pg_temp.tell(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
        " $$ BEGIN INSERT INTO told VALUES (t); RETURN true; END $$"
    )
    ours.execute("SELECT FROM tradewind.decisions WHERE pg_temp.tell(namespace)")
    ours.execute("SELECT FROM tradewind.judged_rows WHERE pg_temp.tell(namespace)")
    assert ours.execute("SELECT DISTINCT namespace FROM told").fetchall() == [("ours",)]


def test_the_functions_of_the_schema_work_for_the_own_namespace_and_for_no_other(desk: Desk, ours: Connection) -> None:
    history = "SELECT jsonb_array_length(tradewind.history('tradewind', %s, 'trader', 'api', 'BTC', '', false, now(), 'x', 5))"
    assert ours.execute(history, ["ours"]).fetchone() == (1,)
    assert ours.execute(history, ["theirs"]).fetchone() == (0,)
    with psycopg.connect(desk.owner) as owner:
        owner.execute("UPDATE tradewind.changes SET at = now() - interval '3 days'")
    count = "SELECT count(*) FROM tradewind.changes WHERE namespace = %s"
    for namespace in ("theirs", "ours"):
        ours.execute("SELECT tradewind.forget_changes('tradewind', %s, 'trader')", [namespace])
    ours.commit()
    with psycopg.connect(desk.owner) as owner:
        assert owner.execute(count, ["ours"]).fetchone() == (0,)
        assert (owner.execute(count, ["theirs"]).fetchone() or (0,))[0] > 0


def test_who_wrote_a_row_is_the_servers_word(desk: Desk, ours: Connection) -> None:
    ours.execute("SET application_name = 'tradewind-gateway trader-gateway-7f'")
    ours.execute(DECISION, ["ours", "d2"])
    written = "SELECT database_role, replica FROM tradewind.decisions WHERE decision_id = 'd2'"
    role = tenants.role_name("tradewind", "ours")
    assert ours.execute(written).fetchone() == (role, "trader-gateway-7f")
    with pytest.raises(errors.InsufficientPrivilege):
        ours.execute("INSERT INTO tradewind.events (installation, namespace, endpoint, decision_id, event_id, number, kind, at, body,"
                     " database_role) VALUES ('tradewind', 'ours', 'trader', 'd2', 'e', 1, 'open', now(), '{}', 'x')")  # fmt: skip


def test_a_role_that_nobody_made_a_tenant_sees_nothing(desk: Desk, postgres_server: Any) -> None:
    with psycopg.connect(desk.owner, autocommit=True) as owner:
        owner.execute("CREATE ROLE stranger LOGIN PASSWORD 'p'")
        owner.execute("GRANT USAGE ON SCHEMA tradewind TO stranger")
        owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA tradewind TO stranger")
        try:
            with psycopg.connect(tenants.tenant_dsn(desk.owner, "stranger", "p")) as connection:
                assert connection.execute("SELECT count(*) FROM tradewind.decisions").fetchone() == (0,)
                assert connection.execute("SELECT count(*) FROM tradewind.judged_rows").fetchone() == (0,)
        finally:
            owner.execute("DROP OWNED BY stranger")
            owner.execute("DROP ROLE stranger")


def test_a_gateway_of_before_goes_on_through_the_migration_and_is_named(empty_postgres_dsn: str, capsys: Any) -> None:
    migrations.upgrade(empty_postgres_dsn, "0017")
    with psycopg.connect(empty_postgres_dsn, autocommit=True) as owner:
        owner.execute("CREATE ROLE by_hand LOGIN PASSWORD 'p'")
        owner.execute("GRANT USAGE ON SCHEMA tradewind TO by_hand")
        owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA tradewind TO by_hand")
        try:
            os.environ["OLD_DSN"] = empty_postgres_dsn
            assert run("migrate", "--dsn-env", "OLD_DSN") == 0
            assert "roles that see every namespace: by_hand" in capsys.readouterr().out
            with psycopg.connect(tenants.tenant_dsn(empty_postgres_dsn, "by_hand", "p"), autocommit=True) as connection:
                for namespace in ("ours", "theirs"):
                    connection.execute(DECISION, [namespace, "d1"])
                assert connection.execute("SELECT count(*) FROM tradewind.decisions").fetchone() == (2,)
                connection.execute("SELECT FROM tradewind.installations")
            tenants.add(empty_postgres_dsn, "tradewind", "ours", role="by_hand")
            with psycopg.connect(tenants.tenant_dsn(empty_postgres_dsn, "by_hand", "p"), autocommit=True) as connection:
                assert connection.execute("SELECT count(*) FROM tradewind.decisions").fetchone() == (1,)
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute("SELECT FROM tradewind.installations")
        finally:
            owner.execute("DROP OWNED BY by_hand")
            owner.execute("DROP ROLE by_hand")


@pytest.mark.parametrize("power", ["SUPERUSER", "BYPASSRLS", "CREATEROLE", "IN ROLE pg_execute_server_program"])
def test_a_role_with_such_powers_is_no_tenant(desk: Desk, power: str) -> None:
    with psycopg.connect(desk.owner, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE mighty LOGIN {power}")
        try:
            with pytest.raises(tenants.TenantError, match="a tenant may not"):
                tenants.add(desk.owner, "tradewind", "third", role="mighty")
        finally:
            owner.execute("DROP ROLE mighty")


@pytest.mark.parametrize("statement", ["STORED", "TAKE_OVER", "FINISH", "SWEEP", "REPORTED", "READ", "BY_POSITION"])
def test_the_gateways_statements_find_their_index_under_the_policy(desk: Desk, statement: str) -> None:
    text = getattr(statements, statement, None) or getattr(report_statements, statement)
    with psycopg.connect(desk.owner) as owner:
        owner.execute("SET LOCAL enable_seqscan = on")
    with psycopg.connect(desk.ours, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(
            "SET enable_seqscan = off"
        )  # the tables are small: whether an index can be used is the question
        given = dict.fromkeys(_names(text), None) | {"installation": "tradewind", "namespace": "ours", "endpoint": "trader",
                                                      "decision_id": "d1", "position_id": "p", "history": 5, "positions": [],
                                                      "stated": True, "state": "answered", "holds": False, "fallback": False,
                                                      "abandoned_after": 60, "lease": 5}  # fmt: skip
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {text}", given).fetchall())
    assert "Seq Scan on decisions" not in plan, plan
    assert "Seq Scan on executions" not in plan, plan
    conditions = [line for line in plan.splitlines() if "Index Cond" in line and "endpoint" in line]
    assert conditions, plan


def _names(text: str) -> set[str]:
    import re

    return set(re.findall(r"%\((\w+)\)s", text))


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    migrate.add_parser(subparsers)
    tenant.add_parser(subparsers)
    args = parser.parse_args(list(argv))
    code: int = args.run(args)
    return code


def test_the_command_makes_a_tenant_shows_it_and_takes_it_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRADEWIND_DSN", desk.owner)
    assert run("tenant", "add", "third") == 0
    dsn = capsys.readouterr().out.strip()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT namespace FROM tradewind.tenant()").fetchone() == ("third",)
    assert run("tenant", "add", "third") == 0
    again = capsys.readouterr()
    assert again.out == ""
    assert "--new-password" in again.err
    psycopg.connect(dsn).close()
    assert run("tenant", "add", "third", "--new-password") == 0
    newer = capsys.readouterr().out.strip()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
    assert run("tenant", "list") == 0
    assert f"{tenants.role_name('tradewind', 'third')}\ttradewind/third" in capsys.readouterr().out
    assert run("tenant", "remove", "third") == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(newer)
    assert run("tenant", "remove", "third") == 2
    capsys.readouterr()
    monkeypatch.setenv("TRADEWIND_DSN", desk.ours)
    assert run("tenant", "add", "third") == 2
    assert "only the owner" in capsys.readouterr().err


def test_the_migration_makes_a_role_for_each_file_of_a_mounted_secret(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEWIND_DSN", desk.owner)
    (tmp_path / "..data").mkdir()
    (tmp_path / "third").write_text("secret-of-the-third\n")
    assert run("migrate", "--tenants", str(tmp_path), "--installation", "second") == 0
    dsn = tenants.tenant_dsn(desk.owner, tenants.role_name("second", "third"), "secret-of-the-third")
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT installation FROM tradewind.tenant()").fetchone() == ("second",)
    (tmp_path / "third").write_text("another")
    assert run("migrate", "--tenants", str(tmp_path), "--installation", "second") == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)
    tenants.remove(desk.owner, "second", "third")
