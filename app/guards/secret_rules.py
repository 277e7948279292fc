"""How secrets show: keys of well-known services, private keys, tokens, passwords."""

from app.guards import checks
from app.guards.grammar import Chars, Either, Repeat, Seq, Word
from app.guards.kinds import Kind
from app.guards.rules import Rule, Tail

_WORDS = r"A-Za-z0-9_"
_URL_SAFE = r"A-Za-z0-9_\-"
_BASE64 = "A-Za-z0-9+/="
_TOKEN_TAIL = Tail(_URL_SAFE)


def _token(prefix: str, alphabet: str, length: int) -> Rule:
    """A token that tells what it is by its first letters, and is at least so long."""
    core = Seq(Word(prefix, exact=True), Chars(alphabet, length, length))
    return Rule(Kind.SECRET, core, check=checks.mixed, tail=_TOKEN_TAIL)


def _exactly(prefixes: tuple[str, ...], alphabet: str, length: int) -> Rule:
    start = Either(*(Word(prefix, exact=True) for prefix in prefixes))
    return Rule(Kind.SECRET, Seq(start, Chars(alphabet, length, length)), unless=Chars(_URL_SAFE))


# Line breaks, also as strings in source code and in JSON have them.
_BREAK = Repeat(Either(Chars(r"\s"), Word(r"\n"), Word(r"\r")), least=1, most=6)
_PEM_START = Seq(
    Word("-----BEGIN ", exact=True),
    Chars("A-Z0-9 ", 0, 32),
    Word("PRIVATE KEY", exact=True),
    Repeat(Word(" BLOCK", exact=True)),
    Word("-----"),
    _BREAK,
    # Headers, such as `Proc-Type: 4,ENCRYPTED` and `Version: ...`.
    Repeat(Seq(Chars(r"A-Za-z\-", 3, 16), Word(": "), Chars(r"^\n\\", 1, 80), _BREAK), 0, 3),
    Chars(_BASE64, 24, 24),
)
_PEM_TAIL = Tail(
    _BASE64,
    more=Seq(_BREAK, Chars(_BASE64, 16, 16)),
    last=Seq(
        Repeat(Seq(_BREAK, Chars(_BASE64, 1, 15))),
        Repeat(_BREAK),
        Word("-----END ", exact=True),
        Chars("A-Z0-9 ", 3, 48),
        Word("-----"),
    ),
)

_QUOTE = Chars("\"'`", 0, 1)
_BLANKS = Chars(r" \t", 0, 3)
_IS = Seq(
    Chars("\"'`", 0, 1),
    _BLANKS,
    Either(Word(":="), Word("=>"), Word("=="), Word(":"), Word("="), Word("is ")),
    _BLANKS,
    _QUOTE,
)
_NAME = Repeat(Seq(Chars("A-Za-z_"), Chars(_WORDS, 0, 24)))
_OF_KEY = Seq(
    _NAME,
    Either(
        Seq(Either(Word("api"), Word("access"), Word("secret"), Word("private"), Word("account")),
            Chars(r"_\- ", 0, 1), Word("key")),
        Seq(Either(Word("auth"), Word("access"), Word("api"), Word("bearer"), Word("refresh")),
            Chars(r"_\- ", 0, 1), Word("token")),
        Seq(Word("client"), Chars(r"_\- ", 0, 1), Word("secret")),
    ),
    _IS,
)  # fmt: skip
_OF_PASSWORD = Seq(
    _NAME, Either(Word("password"), Word("passwd"), Word("passphrase"), Word("pwd")), _IS
)
_CALL = Chars(r"(\[")

SECRET_RULES = (
    _token("sk-", _URL_SAFE, 32),
    _token("tg-", _URL_SAFE, 40),
    *(_token(f"gh{kind}_", "A-Za-z0-9", 36) for kind in "pousr"),
    _token("github_pat_", _WORDS, 22),
    _token("glpat-", _URL_SAFE, 20),
    *(_token(f"xox{kind}-", r"A-Za-z0-9\-", 16) for kind in "abeoprs"),
    _token("xapp-", r"A-Za-z0-9\-", 20),
    *(_token(f"{kind}k_{mode}_", "A-Za-z0-9", 16) for kind in "sr" for mode in ("live", "test")),
    _token("hf_", "A-Za-z0-9", 30),
    _token("npm_", "A-Za-z0-9", 36),
    _token("pypi-", _URL_SAFE, 32),
    _exactly(("AKIA", "ASIA", "ABIA", "ACCA"), "A-Z2-7", 16),
    _exactly(("AIza",), _URL_SAFE, 35),
    Rule(
        Kind.SECRET,
        Seq(Word("SG.", exact=True), Chars(_URL_SAFE, 16, 32), Word("."), Chars(_URL_SAFE, 16, 16)),
        check=checks.mixed,
        tail=_TOKEN_TAIL,
    ),
    Rule(
        Kind.SECRET,
        Seq(
            Word("eyJ", exact=True),
            Chars(_URL_SAFE, 8, 400),
            Word(".eyJ", exact=True),
            Chars(_URL_SAFE, 8, 8),
        ),
        tail=Tail(rf"{_URL_SAFE}."),
    ),
    Rule(
        Kind.SECRET,
        Chars(_URL_SAFE + "/", 20, 20),
        lead=Word("hooks.slack.com/services/"),
        check=checks.mixed,
        tail=Tail(_URL_SAFE + "/"),
    ),
    Rule(Kind.SECRET, _PEM_START, starts_word=False, tail=_PEM_TAIL),
    Rule(
        Kind.SECRET,
        Chars(r"^\s@/\"'<>", 1, 128),
        lead=Seq(Word("://"), Chars(r"^\s:/@\"'<>", 0, 64), Word(":")),
        after=Word("@"),
        starts_word=False,
        check=checks.password_in_url,
    ),
    Rule(
        Kind.SECRET,
        Chars(r"A-Za-z0-9_.~+/=\-", 20, 64),
        lead=Seq(Word("bearer"), Chars(r" \t", 1, 3)),
        check=checks.value,
        unless=_CALL,
        tail=Tail(r"A-Za-z0-9_.~+/=\-"),
    ),
    Rule(
        Kind.SECRET,
        Chars(r"A-Za-z0-9_.~+/=\-", 16, 64),
        lead=_OF_KEY,
        check=checks.value,
        unless=_CALL,
        tail=Tail(r"A-Za-z0-9_.~+/=\-"),
    ),
    Rule(
        Kind.SECRET,
        Chars(r"A-Za-z0-9_.~+/=!@#%^&*?\-", 8, 64),
        lead=_OF_PASSWORD,
        check=checks.value,
        unless=_CALL,
    ),
)
"""In the order in which they are tried at one place."""
