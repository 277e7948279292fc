"""``tidegate audit``: reading the log of decisions, and proving that nobody has changed it."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import times
from app.cli.client import DEFAULT_URL, Key, Url, connect, fail_to_reach, fail_with_answer, pages
from app.cli.show import AsJson, fail, new_table, plain, print_json, print_tables

if TYPE_CHECKING:
    from rich.table import Table

    from app.audit.verify import Report, Verifier

app = typer.Typer(
    help="Read the log of decisions, and verify that nobody has changed it.",
    no_args_is_help=True,
)

File = Annotated[
    Path | None,
    typer.Option("--file", dir_okay=False, help="What `tidegate audit export` has written."),
]
# As in app.audit.verify, which is imported late: it needs cryptography.
MAX_UNSIGNED = 10_000


@app.command(
    epilog="""Examples:

    \b
      tidegate audit verify
      tidegate audit verify --remember audit-seen.json
      tidegate audit verify --file audit.jsonl --public-key 1f0c...

    Without --public-key and without anything remembered, a log that somebody has forged with a key
    of their own is taken for whole. Only --remember finds a log whose end was cut together with its
    checkpoints."""
)
def verify(
    file: File = None,
    public_key: Annotated[
        list[str] | None,
        typer.Option(
            "--public-key",
            metavar="HEX",
            help="Key that signs checkpoints, from `tidegate audit key`; once for each that does.",
        ),
    ] = None,
    remember: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Where to keep the keys and the ends of the chains that were seen; they have to "
            "be there the next time.",
        ),
    ] = None,
    max_unsigned: Annotated[
        int, typer.Option(min=0, help="Entries that may follow the newest checkpoint of a chain.")
    ] = MAX_UNSIGNED,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Verify the log of a running service, or one that was exported.

    All hashes and signatures are computed here, whatever the service says. Exits with 1 if an entry
    was changed, moved, doubled or taken out, and names the first such place.
    """
    from app.audit.verify import Verifier
    from app.cli.remembered import Remembered

    seen = Remembered.load(remember)
    keys = _public_keys(public_key) or seen.public_keys or None
    verifier = Verifier(keys, anchors=seen.heads, max_unsigned=max_unsigned)
    with _lines(file, url, key) as lines:
        _feed(verifier, lines)
    report = verifier.report()
    if as_json:
        print_json(report.plain() | {"pinned": keys is not None})
    else:
        _print_report(report, pinned=keys is not None)
    if not report.whole:
        raise typer.Exit(1)
    if remember is not None:
        seen.updated(report, keys).save(remember)


@app.command(
    epilog="""Examples:

    \b
      tidegate audit export > audit.jsonl
      tidegate audit export --output audit.jsonl"""
)
def export(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="File to write; otherwise stdout."),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Write the whole log as JSON lines, with all that it takes to verify them elsewhere."""
    with _lines(None, url, key) as lines:
        if output is None:
            for line in lines:
                sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
            return
        partial = output.with_name(output.name + ".part")
        try:
            with partial.open("wb") as target:
                count = sum(target.write(line + b"\n") > 0 for line in lines)
            partial.replace(output)
        except OSError as error:
            fail(f"{output} cannot be written: {error.strerror}")
        finally:
            partial.unlink(missing_ok=True)
    typer.secho(f"{count:,} lines written to {output}", err=True, dim=True)


@app.command(
    "list",
    epilog="""Examples:

    \b
      tidegate audit list --since 1h
      tidegate audit list --tenant acme --kind refused --limit 20
      tidegate audit list --kind key_created --json""",
)
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only these: admitted, refused, key_created, ...")
    ] = None,
    since: Annotated[str, typer.Option(help="From when: 24h, 7d, or a date (UTC).")] = "24h",
    until: Annotated[str | None, typer.Option(help="Up to when: as --since. [now]")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most entries to show.")] = 100,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show entries, in the order in which they were recorded."""
    query = {
        "tenant": tenant,
        "kind": kind,
        "since": times.ago(since, "--since"),
        "until": times.ago(until, "--until"),
    }
    entries = pages(url, key, "audit", "entries", query, limit)
    if as_json:
        print_json({"entries": entries})
        return
    table = new_table("Audit log", "entry", "time (UTC)", "kind", "tenant", "subject", "what")
    for entry in entries:
        table.add_row(
            plain(f"{entry.get('chain', '?')}:{entry.get('sequence', '?')}"),
            times.shown(entry.get("at")),
            plain(str(entry.get("kind", "?"))),
            plain(_printable(entry.get("tenant", ""))),
            plain(_printable(entry.get("subject", ""))),
            plain(_what(str(entry.get("body", "")))),
        )
    print_tables(table)
    if len(entries) == limit:
        typer.secho("There may be more: raise --limit, or narrow it down.", err=True, dim=True)


@app.command(
    "key",
    epilog="""Examples:

    \b
      tidegate audit key
      tidegate audit key --data-dir /var/lib/tidegate""",
)
def public_key_(
    data_dir: Annotated[
        Path, typer.Option(help="The ledger's `store.data_dir` on this machine.")
    ] = Path(".tidegate"),
) -> None:
    """Print the public key with which this machine's ledger signs, to be pinned elsewhere."""
    from app.audit.signing import KEY_FILE, load_signing_key

    try:
        typer.echo(load_signing_key(data_dir, make=False).public.hex())
    except FileNotFoundError:
        fail(
            f"there is no {data_dir / KEY_FILE}: the ledger makes it at its first start, on the "
            "machine that it runs on"
        )
    except OSError as error:
        fail(f"{data_dir / KEY_FILE} cannot be read: {error.strerror}")
    except ValueError as error:
        fail(str(error))


@contextmanager
def _lines(file: Path | None, url: str, key: str | None) -> Iterator[Iterator[bytes]]:
    """The log, line by line."""
    from app.audit.lines import MAX_LINE

    if file is not None:
        try:
            with file.open("rb") as source:
                # In pieces: a file without ends of lines must not fill the memory.
                yield (line.rstrip(b"\n") for line in iter(lambda: source.readline(MAX_LINE), b""))
        except OSError as error:
            fail(f"{file} cannot be read: {error.strerror}")
        return
    import httpx

    with connect(url, key) as client:
        try:
            with client.stream("GET", "/admin/v1/audit/export") as response:
                if response.status_code != 200:
                    response.read()
                    fail_with_answer(response)
                yield _split(response.iter_bytes(), MAX_LINE)
        except httpx.HTTPError as error:
            fail_to_reach(url, error)


def _split(chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """Lines that end in a line feed and nothing else; too long ones come in pieces."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > longest:
            yield rest
            rest = b""
    if rest:
        yield rest


def _feed(verifier: "Verifier", lines: Iterable[bytes]) -> None:
    from app.audit.chain import Entry
    from app.audit.lines import decode

    empty = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        empty = False
        try:
            item = decode(line)
        except ValueError as error:
            verifier.unreadable(f"line {number} is no part of a log: {error}")
            continue
        if isinstance(item, Entry):
            verifier.entry(item)
        else:
            verifier.checkpoint(item)
    if empty:
        verifier.unreadable("there is no entry at all: this is no log, or all of it is gone")


def _public_keys(given: list[str] | None) -> frozenset[bytes]:
    keys = set()
    for text in given or ():
        try:
            keys.add(bytes.fromhex(text))
        except ValueError:
            fail(f"--public-key: {text!r} is not hexadecimal; `tidegate audit key` prints it")
        if len(bytes.fromhex(text)) != 32:
            fail(f"--public-key: {text!r} is not a key of 64 hex digits")
    return frozenset(keys)


def _print_report(report: "Report", *, pinned: bool) -> None:
    print_tables(_chains_table(report))
    for each in report.breaks:
        typer.secho(_printable(str(each)), fg="red")
    if report.broken > len(report.breaks):
        typer.secho(f"... and {report.broken - len(report.breaks):,} more", fg="red")
    entries = sum(each.entries for each in report.chains)
    keys = ", ".join(key.hex() for key in report.public_keys) or "nobody"
    if report.whole:
        typer.secho(f"The log is whole: {entries:,} entries, signed by {keys}.", fg="green")
    else:
        typer.secho(f"The log is broken, first at {_printable(str(report.breaks[0]))}.", fg="red")
    if not pinned and report.public_keys:
        typer.secho(
            "Nothing says that this key is the ledger's: give --public-key, or --remember.",
            err=True,
            dim=True,
        )


def _chains_table(report: "Report") -> "Table":
    table = new_table(
        "Chains", "chain", "entries", "removed by retention", "newest", "signed up to", "at (UTC)"
    )
    for each in report.chains:
        table.add_row(
            plain(_printable(each.chain)),
            f"{each.entries:,}",
            f"up to {each.pruned:,}" if each.pruned else "-",
            f"{each.head.sequence:,}",
            f"{each.signed:,}" if each.signed else "-",
            times.shown(each.signed_at) if each.signed else "-",
        )
    return table


def _what(body: str) -> str:
    """An entry's body in one line: names and values, details last."""
    import json

    try:
        fields = json.loads(body)
        detail = fields.pop("detail", {})
        return _printable(
            ", ".join(f"{name} {value}" for name, value in [*fields.items(), *detail.items()])
        )
    except (ValueError, AttributeError, TypeError):
        return _printable(body)


def _printable(text: object) -> str:
    """Text without control characters: what is in a log may have come from anybody."""
    return "".join(char for char in str(text)[:1000] if char.isprintable())
