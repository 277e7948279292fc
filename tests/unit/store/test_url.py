from pathlib import Path

import pytest

from app.errors import ConfigError
from app.store.url import described, parse_url, sqlite_file


def test_a_relative_file_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_file(parse_url("sqlite:///.tidegate/tidegate.db")) == (
        tmp_path / ".tidegate" / "tidegate.db"
    )


def test_an_absolute_file() -> None:
    assert sqlite_file(parse_url("sqlite:////var/lib/store.db")) == Path("/var/lib/store.db")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_postgresql_gets_its_driver(scheme: str) -> None:
    url = parse_url(f"{scheme}://ada@db.example/tidegate?sslmode=verify-full")
    assert url.drivername == "postgresql+asyncpg"
    assert dict(url.query) == {"ssl": "verify-full"}
    assert sqlite_file(url) is None


def test_what_is_shown_holds_no_password() -> None:
    shown = described(parse_url("postgresql://ada:hunter2@db.example:5433/tidegate"))
    assert shown == "PostgreSQL, database 'tidegate' at db.example:5433"


def test_a_bad_port() -> None:
    with pytest.raises(ConfigError, match="port 65536 is not from 1 to 65535"):
        parse_url("postgresql://ada:hunter2@db:65536/x")


def test_bad_options() -> None:
    for options, said in (
        ("sslmode=maybe", "'maybe' is not known: use one of disable, allow, prefer"),
        ("sslmod=require", "'sslmod' is not known: the one option is sslmode"),
        ("sslmode=require&sslmode=disable", "is not known"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse_url(f"postgresql://ada@db/x?{options}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://ada:hunter2@db/x", "'mysql' is not known"),
        ("nonsense hunter2", "is not a URL"),
        ("postgresql://ada:hunter2@db:port/x", "is not a URL"),
        ("sqlite://", "needs the name of a file"),
        ("sqlite:///:memory:", "needs the name of a file"),
        ("sqlite:///file:x?mode=memory", "needs the name of a file"),
        ("sqlite:///x.db?mode=ro", "no options"),
        ("sqlite://hunter2@host/x.db", "no options"),
        ("postgresql://ada:hunter2@db", "names no database"),
    ],
)
def test_bad_addresses_say_what_is_wrong_and_the_way_out(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    (issue,) = caught.value.issues
    assert issue.path == "store.url"
    assert said in issue.message
    assert "sqlite:///FILE" in issue.message
    assert "postgresql://" in issue.message
    assert "hunter2" not in str(caught.value)
