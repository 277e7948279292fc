"""The tables of the store. A change here needs a migration in `migrations/`."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

tenants = Table(
    "tenants",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("weight", Double, nullable=False, default=1.0),
)

# `subject` stands for the user everywhere else that outlives it: forgetting a user is deleting
# this row.
users = Table(
    "users",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("subject", String(32), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    ForeignKeyConstraint(["tenant"], ["tenants.name"]),
)

# A key outlives its user, under the subject's name, so that gateways learn that it is revoked.
keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("user", String(128), nullable=False),
    Column("roles", JSON, nullable=False),
    Column("zone", String(64), nullable=False),
    Column("models", JSON(none_as_null=True)),
    Column("tiers", JSON, nullable=False),
    Column("unlimited", Boolean, nullable=False, default=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("rotated_from", String(32)),
    # The value of versions.directory when the row last changed.
    Column("version", BigInteger, nullable=False, index=True),
    ForeignKeyConstraint(["tenant"], ["tenants.name"]),
    Index("ix_keys_tenant_user", "tenant", "user"),
)

# Overrides of the configured limits. `user` is empty for a rule of the whole tenant.
limits = Table(
    "limits",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("user", String(128), primary_key=True, default=""),
    Column("rule", String(64), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# `key` is empty for the budget of the whole tenant.
budgets = Table(
    "budgets",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("key", String(64), primary_key=True, default=""),
    Column("period", String(8), primary_key=True),
    Column("micros", BigInteger, nullable=False),
    Column("alert", Double, nullable=False),
    Column("policy", String(8), nullable=False),
)

# Numbers that count up with every change of what others keep copies of.
versions = Table(
    "versions",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("request_id", String(64), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("subject", String(32), nullable=False),
    Column("key", String(64), nullable=False),
    Column("model", String(128), nullable=False),
    Column("pool", String(64), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("route", String(32), nullable=False),
    Column("size_class", String(16), nullable=False),
    Column("tier", String(16), nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("micros", BigInteger, nullable=False),
    Column("outcome", String(64), nullable=False),
    Index("ix_usage_tenant_at", "tenant", "at"),
)

# The ledger's own state, written in the transaction that makes it true.
buckets = Table(
    "buckets",
    metadata,
    Column("rule", String(64), primary_key=True),
    Column("tenant", String(128), primary_key=True),
    Column("user", String(128), primary_key=True, default=""),
    Column("level", Double, nullable=False),
    Column("at", Double, nullable=False),
)

spending = Table(
    "spending",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("key", String(64), primary_key=True, default=""),
    Column("period", String(8), primary_key=True),
    Column("start", String(10), primary_key=True),
    Column("micros", BigInteger, nullable=False),
    Column("alerted", Boolean, nullable=False, default=False),
)

# Whose returns have been applied, so that a tick sent twice counts once.
ticks = Table(
    "ticks",
    metadata,
    Column("shard", Integer, primary_key=True),
    Column("gateway", String(64), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
)

# Only the ledger that holds a shard's newest epoch may write for it.
shards = Table(
    "shards",
    metadata,
    Column("shard", Integer, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("chain", String(32), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("at", Double, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("tenant", String(128), nullable=False),
    # The user's pseudonym; part of the hash, unlike the name it stands for.
    Column("subject", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Index("ix_audit_tenant_at", "tenant", "at"),
    Index("ix_audit_at", "at"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("chain", String(32), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("at", Double, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("public_key", LargeBinary(32), nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
    # Where retention has cut: everything up to and including this sequence is gone on purpose.
    Column("pruned", Boolean, nullable=False, default=False),
)

# How long each stage of a model's starts took, to hold the next start against.
starts = Table(
    "starts",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("hardware", String(128), primary_key=True),
    Column("stage", String(32), primary_key=True),
    Column("at", Double, primary_key=True),
    Column("seconds", Double, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("memory", BigInteger, nullable=False),
)

# What the forecaster goes on with after a restart; it alone knows what is in it.
forecasts = Table(
    "forecasts",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("at", Double, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

# The highest signed version of each model that was ever loaded.
model_versions = Table(
    "model_versions",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("version", BigInteger, nullable=False),
)
