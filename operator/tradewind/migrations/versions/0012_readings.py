"""What was needed to read an answer, what each call said and cost, and new ways of being wrong in itself."""

from importlib import import_module

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# `reading_rules`: what was needed to read the drawn arm's (the shadow's) answer, empty: nothing; NULL: there was none, or an older
# gateway. `extra`: what it said beside the decision. `calls`: each HTTP call with latency_ms, error_kind, error_cause, error_detail,
# cost_cny and tokens. `error_cause`: what somebody has to do about the error.
COLUMNS = """
-- Which words there are is said by the code that writes them: a list here would refuse the answer of a newer gateway.
ALTER TABLE tradewind.decisions DROP CONSTRAINT decisions_error_kind_check,
    ADD CONSTRAINT decisions_error_kind_check CHECK (error_kind ~ '^[a-z][a-z_]{0,39}$'),
    ADD COLUMN error_cause text, ADD COLUMN reading_rules text[], ADD COLUMN extra jsonb, ADD COLUMN calls jsonb;
ALTER TABLE tradewind.shadows
    ADD COLUMN error_cause text, ADD COLUMN reading_rules text[], ADD COLUMN extra jsonb, ADD COLUMN calls jsonb;
"""

# One place in SQL for what trading/error_kinds.py has in Python; a test compares them kind by kind.
WRONG = """
CREATE FUNCTION tradewind.wrong_in_itself(p_error_kind text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN p_error_kind IN ('status', 'invalid_json', 'invalid_decision', 'over_limit', 'empty', 'length', 'refusal', 'content_filter');
"""
_LISTED = "d.error_kind IN ('status', 'invalid_json', 'invalid_decision', 'over_limit')"


def upgrade() -> None:
    """Adds the columns, and has the view ask the function."""
    before: str = import_module("tradewind.migrations.versions.0011_first_known").VIEW
    assert before.count(_LISTED) == 1
    connection = op.get_bind()
    for part in (COLUMNS, WRONG, before.replace(_LISTED, "tradewind.wrong_in_itself(d.error_kind)")):
        connection.exec_driver_sql(part)
