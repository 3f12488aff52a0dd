"""What was shown to whom, moderation, experiments, who was forgotten, what was exported."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# The one change of a row that is allowed: forgetting the person in it. All other columns have to stay what they are.
KEPT = (
    *("seq", "time", "request_id", "item_id", "position", "model_version", "scenario", "propensity", "experiment", "variant"),
    *("seal", "hash"),
)


def upgrade() -> None:
    _tables()
    if op.get_bind().dialect.name == "sqlite":
        _sqlite_triggers()
    else:
        _postgres_triggers()


def _tables() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", Number, primary_key=True, autoincrement=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("scenario", sa.Text),
        sa.Column("propensity", sa.Double, nullable=False),
        sa.Column("experiment", sa.Text),
        sa.Column("variant", sa.Text),
        sa.Column("why", sa.Text),
        sa.Column("salt", sa.Text),
        sa.Column("seal", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    op.create_index("audit_of_user", "audit", ["user_id", "seq"])
    op.create_index("audit_of_item", "audit", ["item_id", "seq"])
    named = sa.text("experiment IS NOT NULL")
    op.create_index("audit_of_experiment", "audit", ["experiment", "seq"], sqlite_where=named, postgresql_where=named)
    op.create_table(
        "audit_anchors",
        sa.Column("upto", Number, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
    )
    op.create_table(
        "blocked",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
    )
    op.create_table(
        "reviews",
        sa.Column("id", Number, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("decided", sa.Double),
        sa.Column("by", sa.Text),
    )
    op.create_index("reviews_by_state", "reviews", ["state", "id"])
    op.create_table(
        "experiments",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
    )
    op.create_table(
        "forgotten",
        sa.Column("who", sa.Text, primary_key=True),
        sa.Column("seq", Number, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
    )
    op.create_table(
        "exports",
        sa.Column("folder", sa.Text, primary_key=True),
        sa.Column("watermark", Number, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
    )


def _sqlite_triggers() -> None:
    same = " AND ".join(f"NEW.{name} IS OLD.{name}" for name in KEPT)
    op.execute(
        f"""CREATE TRIGGER audit_written_once BEFORE UPDATE ON audit
        WHEN NOT ({same} AND NEW.user_id LIKE 'gone-%' AND NEW.salt IS NULL AND NEW.why IS NULL)
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"""
    )
    op.execute(
        """CREATE TRIGGER audit_kept BEFORE DELETE ON audit
        WHEN OLD.seq > COALESCE((SELECT max(upto) FROM audit_anchors), 0)
        BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"""
    )
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"""CREATE TRIGGER audit_anchors_no_{verb.lower()} BEFORE {verb} ON audit_anchors
            BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"""
        )


def _postgres_triggers() -> None:
    same = " AND ".join(f"NEW.{name} IS NOT DISTINCT FROM OLD.{name}" for name in KEPT)
    op.execute(
        f"""CREATE FUNCTION m6rec_audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'audit' THEN
                IF {same} AND NEW.user_id LIKE 'gone-%' AND NEW.salt IS NULL AND NEW.why IS NULL THEN RETURN NEW; END IF;
            ELSIF TG_OP = 'DELETE' AND TG_TABLE_NAME = 'audit' THEN
                IF OLD.seq <= COALESCE((SELECT max(upto) FROM audit_anchors), 0) THEN RETURN OLD; END IF;
            END IF;
            RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'integrity_constraint_violation';
        END $$"""
    )
    for table in ("audit", "audit_anchors"):
        op.execute(
            f"""CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION m6rec_audit_guard()"""
        )
        op.execute(
            f"""CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION m6rec_audit_guard()"""
        )
