"""How the tables came to be, one file a step (Alembic). Run by `Store.open`."""
