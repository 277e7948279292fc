"""What starts of models take, and which versions of them were loaded."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "starts",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("hardware", sa.String(length=128), nullable=False),
        sa.Column("stage", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", "hardware", "stage", "at", name="pk_starts"),
    )
    op.create_table(
        "model_versions",
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", name="pk_model_versions"),
    )
