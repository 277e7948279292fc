"""What alembic runs: the migrations, in the transaction that :mod:`app.store.migrate` has begun."""

from alembic import context

from app.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can change tables in transactions, though alembic does not count on it.
    transactional_ddl=True,
    # SQLite alters few things in place; alembic copies the table instead.
    render_as_batch=True,
)
context.run_migrations()
