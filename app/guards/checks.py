"""What a pattern cannot say: check digits, number ranges, and values that are only examples.

Each check takes what matched and returns how many of its first characters are the finding.
"""

from string import ascii_letters, digits

_DIGITS = digits.encode()
_LETTERS = ascii_letters.encode()
_NOT_DIGITS = bytes(set(range(256)) - set(_DIGITS))
_NOT_ALNUM = bytes(set(range(256)) - set(_DIGITS + _LETTERS))
# Each digit twice, and its digits added up.
_DOUBLED = bytes.maketrans(_DIGITS, b"0246813579")

# Digits of an issuer's number that cards begin with, as ranges, and the lengths of its cards.
_ISSUERS = (
    (4, 4, (13, 16, 19)),
    (51, 55, (16,)),
    (2221, 2720, (16,)),
    (34, 34, (15,)),
    (37, 37, (15,)),
    (300, 305, (14,)),
    (36, 36, (14,)),
    (38, 39, (14,)),
    (6011, 6011, (16, 19)),
    (644, 649, (16, 19)),
    (65, 65, (16, 19)),
    (3528, 3589, (16, 19)),
    (62, 62, (16, 17, 18, 19)),
)

# Lengths by country, from the registry of IBANs.
_IBANS = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20
    EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30
    KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24
    PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22
    VG24 XK20
"""
_IBAN_LENGTHS = {entry[:2].encode(): int(entry[2:]) for entry in _IBANS.split()}
_FILE_ENDINGS = frozenset(
    b"png jpg jpeg gif svg webp ico css js ts tsx jsx json md py rs go java html xml yaml yml "
    b"toml txt pdf zip gz".split()
)
_EXAMPLES = frozenset(
    b"password passwd pass pwd secret token changeme example xxx xxxx xxxxx xxxxxx placeholder "
    b"redacted yourpassword mypassword user".split()
)


def card(found: bytes) -> int:
    """A payment card: one separator throughout, an issuer's number and length, Luhn."""
    number = found.translate(None, _NOT_DIGITS)
    if not _one_separator(found) or not _luhn(number):
        return 0
    for low, high, lengths in _ISSUERS:
        if low <= int(number[: len(str(low))]) <= high:
            return len(found) if len(number) in lengths else 0
    return 0


def iban(found: bytes) -> int:
    """An IBAN: its country's length, and its check digits. What follows may match the pattern."""
    length = _IBAN_LENGTHS.get(found[:2].upper())
    if length is None:
        return 0
    taken = seen = 0
    while taken < len(found) and seen < length:
        seen += found[taken : taken + 1].isalnum()
        taken += 1
    if seen < length or found[taken : taken + 1].isalnum():
        return 0
    account = found[:taken].translate(None, _NOT_ALNUM).upper()
    number = "".join(str(int(chr(each), 36)) for each in account[4:] + account[:4])
    return taken if int(number) % 97 == 1 else 0


def ssn(found: bytes) -> int:
    """A US social security number from a range that is given out."""
    number = found.translate(None, _NOT_DIGITS)
    area, group, serial = number[:3], number[3:5], number[5:]
    bad = area in (b"000", b"666") or area >= b"900" or group == b"00" or serial == b"0000"
    return 0 if bad else len(found)


def phone(found: bytes) -> int:
    """A phone number: 8 to 15 digits that are not all alike, with one kind of separator."""
    number = found.translate(None, _NOT_DIGITS)
    whole = 8 <= len(number) <= 15 and len(set(number)) > 2
    return len(found) if whole and (b"(" in found or _one_separator(found)) else 0


def international_phone(found: bytes) -> int:
    """A phone number with its country's code, whatever its separators are."""
    number = found.translate(None, _NOT_DIGITS)
    return len(found) if 8 <= len(number) <= 15 and len(set(number)) > 2 else 0


def email(found: bytes) -> int:
    """An e-mail address; not a package's version, and not the name of a file."""
    local, _, domain = found.partition(b"@")
    labels = domain.split(b".")
    if labels[-1].lower() in _FILE_ENDINGS or b".." in local or local.endswith(b"."):
        return 0
    # 163.com takes mail; 18.2.0-rc.next does not.
    return 0 if len(labels) > 2 and labels[0].isdigit() and labels[1].isdigit() else len(found)


def mixed(found: bytes) -> int:
    """A token: random enough to hold letters and digits."""
    return len(found) if _mixed(found) else 0


def value(found: bytes) -> int:
    """What stands after `password =`: letters and digits, and not the name of something."""
    if not _mixed(found) or _example(found):
        return 0
    labels = found.split(b".")
    named = len(labels) > 1 and all(label.decode("latin-1").isidentifier() for label in labels)
    return 0 if named else len(found)


def password_in_url(found: bytes) -> int:
    """The password of a URL; not a place for one, as documentation has it."""
    return 0 if _example(found) or found[:1] in (b"$", b"{", b"[", b"%") else len(found)


def _mixed(found: bytes) -> bool:
    return len(found.translate(None, _DIGITS)) < len(found) and (
        len(found.translate(None, _LETTERS)) < len(found)
    )


def _example(found: bytes) -> bool:
    plain = found.translate(None, _NOT_ALNUM).lower()
    return plain in _EXAMPLES or len(set(plain)) < 2


def _one_separator(found: bytes) -> bool:
    return len(set(found.translate(None, _DIGITS + b"+"))) <= 1


def _luhn(number: bytes) -> bool:
    backwards = number[::-1]
    plain, doubled = backwards[::2], backwards[1::2].translate(_DOUBLED)
    return (sum(plain) + sum(doubled) - 0x30 * len(number)) % 10 == 0
