"""Where the store is: reading `store.url`."""

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.errors import ConfigError

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FORMS = "use sqlite:///FILE for one node or postgresql://USER@HOST/DATABASE for many"


def parse_url(url: str) -> URL:
    """Read the address of a store, and name the driver for it.

    Args:
        url: ``sqlite:///FILE``, relative to the working directory unless FILE starts with a
            slash, or ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE``, where ``sslmode`` means
            what it does to libpq.

    Raises:
        ConfigError: the address is no store that is known here.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text is not repeated: it may hold a password.
        raise ConfigError([("store.url", f"is not a URL: {_FORMS}")]) from None
    match parsed.drivername:
        case "sqlite" | "sqlite+aiosqlite":
            return _sqlite(parsed)
        case "postgresql" | "postgres" | "postgresql+asyncpg":
            return _postgresql(parsed)
        case other:
            raise ConfigError([("store.url", f"{other!r} is not known: {_FORMS}")])


def sqlite_file(url: URL) -> Path | None:
    """The file behind the address, absolute; None for PostgreSQL."""
    if url.get_backend_name() != "sqlite":
        return None
    return Path(url.database or "").absolute()


def described(url: URL) -> str:
    """What may be shown of an address: no user, no password, no options."""
    if (file := sqlite_file(url)) is not None:
        return f"SQLite, {file}"
    return f"PostgreSQL, database {url.database!r} at {url.host or 'localhost'}:{url.port or 5432}"


def _sqlite(url: URL) -> URL:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigError([("store.url", f"SQLite needs the name of a file: {_FORMS}")])
    if url.host or url.query:
        raise ConfigError([("store.url", f"SQLite takes a file and no options: {_FORMS}")])
    return url.set(drivername="sqlite+aiosqlite")


def _postgresql(url: URL) -> URL:
    if not url.database:
        raise ConfigError([("store.url", f"names no database: {_FORMS}")])
    if url.port is not None and not 0 < url.port < 2**16:
        raise ConfigError([("store.url", f"port {url.port} is not from 1 to 65535")])
    options = dict(url.query)
    mode = options.pop("sslmode", "prefer")
    if options:
        unknown = ", ".join(map(repr, options))
        raise ConfigError([("store.url", f"{unknown} is not known: the one option is sslmode")])
    if mode not in _SSL_MODES:
        known = ", ".join(_SSL_MODES)
        raise ConfigError([("store.url", f"sslmode {mode!r} is not known: use one of {known}")])
    # asyncpg takes libpq's words under a name of its own.
    return url.set(drivername="postgresql+asyncpg", query={"ssl": mode})
