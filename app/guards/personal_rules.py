"""How personal data shows: e-mail addresses, phone numbers, SSN, payment cards, IBAN."""

from app.guards import checks
from app.guards.grammar import Chars, Either, Node, Repeat, Seq, Word
from app.guards.kinds import Kind
from app.guards.rules import Rule

_WORDS = r"A-Za-z0-9_"
_LETTERS = r"A-Za-z"
_DIGIT = "0-9"
# A number goes on if a letter, or a point or dash and then a digit, follows.
_GOES_ON = Either(Chars(_WORDS), Seq(Chars(r".\-/"), Chars(_DIGIT)))
_GAP = Chars(" .-")

_EMAIL = Seq(
    Chars(r"A-Za-z0-9_"),
    Chars(r"A-Za-z0-9_.%+\-", 0, 63),
    Word("@"),
    Repeat(Seq(Chars(r"A-Za-z0-9"), Chars(r"A-Za-z0-9\-", 0, 62), Word(".")), least=1, most=6),
    Chars(_LETTERS, 2, 24),
)


def _grouped(first: Node, *sizes: int) -> Seq:
    """Digits in groups, one separator between two of them."""
    rest = (Seq(Chars(r" \-"), Chars(_DIGIT, size, size)) for size in sizes)
    return Seq(first, *rest)


# The check knows the issuers' numbers; this keeps most other numbers from coming so far.
_ISSUER = Chars("2-6")
_FOUR = Seq(_ISSUER, Chars(_DIGIT, 3, 3))
_CARD = Either(
    _grouped(_FOUR, 4, 4, 4, 3),
    _grouped(_FOUR, 4, 4, 4),
    _grouped(Seq(Word("3"), Chars(_DIGIT, 3, 3)), 6, 5),
    _grouped(Seq(Word("3"), Chars(_DIGIT, 3, 3)), 6, 4),
    Seq(_ISSUER, Chars(_DIGIT, 12, 18)),
)
_LOCAL_CALL = Seq(Chars(_DIGIT, 3, 3), _GAP, Chars(_DIGIT, 4, 4))
_TO_CALL = Seq(
    Either(
        *map(
            Word, ("phone", "telephone", "tel", "mobile", "cell", "fax", "whatsapp", "call", "ring")
        )
    ),
    Repeat(
        Either(
            Chars(r" \t:.#="),
            *map(Word, ("me", "us", "him", "her", "at", "on", "is", "number", "no")),
        ),
        least=1,
        most=6,
    ),
)
_OF_SSN = Seq(
    Either(Word("ssn"), Word("social security number"), Word("social security")),
    Repeat(Either(Chars(r" \t:.#="), Word("is"), Word("no")), least=1, most=5),
)

PERSONAL_RULES = (
    Rule(
        Kind.EMAIL,
        _EMAIL,
        # `git@host:path` is where a repository is; `image.method(` is code.
        unless=Either(Chars(r"A-Za-z0-9_("), Seq(Word(":"), Chars(r"A-Za-z0-9~/"))),
        holds=b"@",
        check=checks.email,
    ),
    Rule(Kind.CARD, _CARD, unless=_GOES_ON, not_after=b".-", check=checks.card),
    Rule(
        Kind.IBAN,
        Seq(
            Chars("A-Za-z", 2, 2),
            Chars(_DIGIT, 2, 2),
            Repeat(Seq(Chars(r" \-", 0, 1), Chars("A-Za-z0-9")), least=11, most=30),
        ),
        unless=Chars(_WORDS),
        check=checks.iban,
    ),
    Rule(
        Kind.SSN,
        Seq(Chars(_DIGIT, 3, 3), Word("-"), Chars(_DIGIT, 2, 2), Word("-"), Chars(_DIGIT, 4, 4)),
        unless=Either(_GOES_ON, Seq(Word("-"), Chars(_WORDS))),
        not_after=b".-/",
        holds=b"-",
        check=checks.ssn,
    ),
    Rule(
        Kind.SSN,
        Seq(
            Chars(_DIGIT, 3, 3),
            Chars(r" \-", 0, 1),
            Chars(_DIGIT, 2, 2),
            Chars(r" \-", 0, 1),
            Chars(_DIGIT, 4, 4),
        ),
        lead=_OF_SSN,
        unless=_GOES_ON,
        check=checks.ssn,
    ),
    Rule(
        Kind.PHONE,
        Seq(
            Word("+"),
            Chars("1-9"),
            Repeat(Seq(Chars(r" .()/\-", 0, 2), Chars(_DIGIT)), least=7, most=14),
        ),
        unless=_GOES_ON,
        not_after=b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz)_+",
        starts_word=False,
        check=checks.international_phone,
    ),
    Rule(
        Kind.PHONE,
        Seq(Word("("), Chars("2-9"), Chars(_DIGIT, 2, 2), Word(")"), Chars(" ", 0, 1), _LOCAL_CALL),
        unless=_GOES_ON,
        starts_word=False,
        check=checks.phone,
    ),
    Rule(
        Kind.PHONE,
        Seq(
            Repeat(Seq(Word("1"), _GAP)),
            Chars("2-9"),
            Chars(_DIGIT, 2, 2),
            _GAP,
            Chars("2-9"),
            Chars(_DIGIT, 2, 2),
            _GAP,
            Chars(_DIGIT, 4, 4),
        ),
        unless=Either(_GOES_ON, Seq(Chars("-"), Chars(_WORDS))),
        not_after=b".-/_#",
        check=checks.phone,
    ),
    Rule(
        Kind.PHONE,
        Either(
            # France, the United Kingdom, Germany.
            Seq(Word("0"), Chars("1-9"), Repeat(Seq(_GAP, Chars(_DIGIT, 2, 2)), 4, 4)),
            Seq(
                Word("0"),
                Chars("1-9"),
                Chars(_DIGIT, 1, 3),
                Word(" "),
                Chars(_DIGIT, 3, 4),
                Word(" "),
                Chars(_DIGIT, 3, 4),
            ),
            Seq(Word("0"), Chars("1-9"), Chars(_DIGIT, 1, 3), Word("/"), Chars(_DIGIT, 5, 8)),
        ),
        unless=_GOES_ON,
        not_after=b".-/_#",
        check=checks.phone,
    ),
    Rule(
        Kind.PHONE,
        Seq(Chars(_DIGIT), Repeat(Seq(Chars(r" .\-", 0, 1), Chars(_DIGIT)), least=8, most=11)),
        lead=_TO_CALL,
        unless=_GOES_ON,
        check=checks.phone,
    ),
)
"""In the order in which they are tried at one place."""
