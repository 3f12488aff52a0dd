"""What people did to the service: rows that are added and never changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "deeds",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("time", sa.Double, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("who", "did", "target", "before", "after", "hash")),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"""CREATE TRIGGER deeds_no_{verb.lower()} BEFORE {verb} ON deeds
                BEGIN SELECT RAISE(ABORT, 'the record of deeds is append-only'); END"""
            )
        return
    op.execute(
        """CREATE FUNCTION m6rec_deeds_guard() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the record of deeds is append-only' USING ERRCODE = 'integrity_constraint_violation';
        END $$"""
    )
    op.execute("CREATE TRIGGER deeds_append_only BEFORE UPDATE OR DELETE ON deeds FOR EACH ROW EXECUTE FUNCTION m6rec_deeds_guard()")
    op.execute("CREATE TRIGGER deeds_no_truncate BEFORE TRUNCATE ON deeds FOR EACH STATEMENT EXECUTE FUNCTION m6rec_deeds_guard()")
