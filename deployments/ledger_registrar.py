"""The registrar: which keys there are, told to every gateway; and the admin's calls.

Only the ledger's shard 0 has one.
"""

import os
from collections.abc import Mapping, Sequence

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admission.tier import Tier
from app.config import FleetConfig
from app.errors import ConfigError
from app.security.directory import Delta, Snapshot, encode
from app.security.identity import Role
from app.security.keys import ADMIN_KEY_ID, KeyRecord, admin_record
from app.security.secrets import MasterSecret, admin_key
from app.store import keys as key_store
from app.store import people
from app.store.database import Database
from app.store.keys import KeyRow
from app.store.statements import insert
from app.store.tables import versions
from app.store.versions import Version, current

# Beside the numbers of `app.store.versions`, so that the secret and the keys cannot be parted.
_MASTER = "master_secret"

log = structlog.get_logger(__name__)


class Registrar:
    """The key directory as the store has it, and the messages that tell gateways of it.

    Args:
        config: the fleet's configuration.
        database: the store.
        environ: the environment, for the secrets.

    Raises:
        ConfigError: the master secret or the admin key cannot be used.
    """

    def __init__(
        self,
        config: FleetConfig,
        database: Database,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._database = database
        self._master = MasterSecret.load(config.store.data_dir, environ)
        self.pepper = self._master.derive("api keys")
        """What digests of keys are keyed with."""
        key, self.admin_key_file = admin_key(config.store.data_dir, environ)
        self._admin = admin_record(self.pepper, key, list(config.zones)[-1])
        self._records: dict[str, KeyRecord] = {}
        self._version = 0
        self._tenants = 0
        self._weights: dict[str, float] = {}
        self._snapshot: bytes | None = None

    async def load(self) -> None:
        """Reads all keys; to be called before anything else.

        Raises:
            ConfigError: the keys in the store were made under another master secret.
            StoreUnavailable: the store cannot be read.
        """
        async with self._database.begin() as conn:
            await self._check_master(conn)
        await self._load_all()

    @property
    def snapshot(self) -> bytes:
        """All keys, as a gateway that connects is told."""
        if self._snapshot is None:
            records = tuple(self._records.values())
            self._snapshot = encode(Snapshot(self.pepper, self._version, records, self._weights))
        return self._snapshot

    async def refresh(self, version: int, tenants: int) -> bytes | None:
        """Follows the store.

        Args:
            version: the directory's version in the store.
            tenants: that of the tenants' weights.

        Returns:
            What gateways must be told; None if nothing has changed.
        """
        reweighted = tenants != self._tenants and await self._reweighted(tenants)
        if version == self._version and not reweighted:
            return None
        if version < self._version or reweighted:
            # The store has been set back to an older state, or a share has changed: both are rare.
            await self._load_all()
            return self.snapshot
        async with self._database.read() as conn:
            newest, rows = await key_store.changed_since(conn, self._version)
        changed, unknown = _records(rows)
        self._records |= {record.id: record for record in changed}
        for key_id in unknown:
            self._records.pop(key_id, None)
        self._version, self._snapshot = newest, None
        return encode(Delta(newest, changed, unknown))

    def forget(self, dead_before: float) -> bytes | None:
        """Leaves out keys that were revoked or have expired before a time.

        Returns:
            What gateways must be told; None if there were none.
        """
        dead = tuple(
            record.id
            for record in self._records.values()
            if (record.revoked_at is not None and record.revoked_at < dead_before)
            or (record.expires_at is not None and record.expires_at < dead_before)
        )
        if not dead:
            return None
        for key_id in dead:
            del self._records[key_id]
        self._snapshot = None
        return encode(Delta(self._version, removed=dead))

    async def _reweighted(self, tenants: int) -> bool:
        """Whether a tenant has another weight; a new one has the usual weight."""
        async with self._database.read() as conn:
            found = await people.weights(conn)
        self._tenants = tenants
        return found != self._weights

    async def _load_all(self) -> None:
        async with self._database.read() as conn:
            self._tenants = (await current(conn))[Version.TENANTS]
            self._weights = await people.weights(conn)
            self._version, rows = await key_store.changed_since(conn, 0)
        self._records = {record.id: record for record in _records(rows)[0]}
        self._records[ADMIN_KEY_ID] = self._admin
        self._snapshot = None

    async def _check_master(self, conn: AsyncConnection) -> None:
        value = self._master.check_value
        statement = insert(conn, versions).values(name=_MASTER, value=value)
        await conn.execute(statement.on_conflict_do_nothing())
        stored = (
            await conn.execute(select(versions.c.value).where(versions.c.name == _MASTER))
        ).scalar_one()
        if stored != value:
            raise ConfigError(
                [
                    (
                        "TIDEGATE_MASTER_KEY",
                        (
                            "is not the secret that the keys in the store were made under, so "
                            "none of them would work: set it, or put back "
                            "store.data_dir/master.key, as it was where the store was first used"
                        ),
                    )
                ]
            )


def _records(rows: Sequence[KeyRow]) -> tuple[tuple[KeyRecord, ...], tuple[str, ...]]:
    """The keys, and the ids of rows that cannot be understood.

    Another release made those: nobody can say what they may do, so they may do nothing.
    """
    found, unknown = [], []
    for row in rows:
        try:
            found.append(_record(row))
        except ValueError as error:
            log.warning("key left out of the directory", key=row.id, error=str(error))
            unknown.append(row.id)
    return tuple(found), tuple(unknown)


def _record(row: KeyRow) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        digest=row.digest,
        tenant=row.tenant,
        user=row.user,
        roles=tuple(Role(role) for role in row.roles),
        zone=row.zone,
        models=row.models,
        tiers=tuple(Tier(tier) for tier in row.tiers),
        unlimited=row.unlimited,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
