"""Texts for the tests: what is found, what is nearly it, and mixtures of their parts."""

from hypothesis import strategies as st

# Put together here, so that no scanner takes this file for one that leaks keys.
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "a1B2c3D4e" * 4
TIDEGATE = "tg-" + "abcdefgh23456723" + "-" + "Ab1-_" * 8 + "Xyz"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9"
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + ("MIIEpAIBAAKCAQEA7bq0y1rX9v3Jm8" + "QzKf5T2hWcLxEoUnRdGsYpIaNvBtC4D6F8\n") * 12
    + "c2hvcnQ=\n-----END RSA PRIVATE KEY-----"
)

FOUND = [
    ("ada@example.com", "email"),
    ("jürgen.müller+x@münchen.example", "email"),
    ("жора@почта.рф", "email"),
    ("user@163.com", "email"),
    ("ada\u200b@exam\u00adple.com", "email"),
    ("ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ", "email"),
    ("+44 20 7946 0958", "phone"),
    ("+49 (0)30 901820", "phone"),
    ("(415) 555-2671", "phone"),
    ("415-555-2671", "phone"),
    ("1.415.555.2671", "phone"),
    ("06 12 34 56 78", "phone"),
    ("030/9018201", "phone"),
    ("020 7946 0958", "phone"),
    ("123-45-6789", "ssn"),
    ("123‑45‑6789", "ssn"),
    ("4111 1111 1111 1111", "card"),
    ("4111111111111111", "card"),
    ("5555-5555-5555-4444", "card"),
    ("3782 822463 10005", "card"),
    ("４１１１ １１１１ １１１１ １１１１", "card"),
    ("DE89 3704 0044 0532 0130 00", "iban"),
    ("GB82WEST12345698765432", "iban"),
    ("mt84malt011000012345mtlcast001s", "iban"),
    (AWS, "secret"),
    (GITHUB, "secret"),
    (TIDEGATE, "secret"),
    ("sk-proj-" + "Ab3dEf6h" * 8, "secret"),
    ("xoxb-" + "123456789012-" + "abcdefGHIJKL", "secret"),
    ("AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q", "secret"),
    (JWT, "secret"),
    (PEM, "secret"),
    (PEM.replace("\n", "\\n"), "secret"),
]
"""Each is one finding of its kind, from the first to the last character."""

NEARLY = [
    "git@github.com:org/repo.git",
    "react@18.2.0-rc.next",
    "icon@2x.png",
    "A@B.transpose()",
    "ada@localhost",
    "4111 1111 1111 1112",
    "4111-1111 1111-1111",
    "1234567890123456",
    "1700000000000",
    "978-3-16-148410-0",
    "0.4111111111111111",
    "000-12-3456",
    "123-45-67890",
    "666-45-6789",
    "DE89 3704 0044 0532 0130 01",
    "2024-05-17 12:34:56",
    "192.168.100.200",
    "415-555-26711",
    "550e8400-e29b-41d4-a716-446655440000",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sk-learn-and-other-packages-that-are-long",
    "-----BEGIN RSA PRIVATE KEY----- is how such a file begins",
    "-----BEGIN PUBLIC KEY-----\n" + "A1b2" * 16,
    "password: ********",
    "password = settings.database.password1",
    "postgres://user:password@localhost/db",
    "https://$USER:$PASSWORD@host",
    "http://[::1]:8000/",
    "api_key = os.environ['OPENAI_API_KEY']",
    "call me later, at 5 or 6",
    "+1",
    "e+10000000000",
]
"""Nothing is found in any of them."""

pieces = st.sampled_from(
    [text for text, _ in FOUND]
    + NEARLY
    + [
        "ada",
        "@",
        ".com",
        "4111",
        " ",
        "-",
        "\n",
        "+",
        "(415)",
        "é",
        "\u200b",
        "\u0301",
        "中",
        "eyJ",
    ]
    + ["password=", "hunter2x", "://", ":", "-----", "BEGIN ", "PRIVATE KEY", "A1b2" * 8, "tel "]
)
texts = st.lists(
    st.one_of(
        pieces,
        st.text(max_size=5),
        st.text(st.sampled_from("0123456789 .-+()@aA/=:_"), max_size=24),
        # The middle of something.
        st.builds(
            lambda piece, start, end: piece[start:][:end],
            pieces,
            st.integers(0, 40),
            st.integers(0, 60),
        ),
    ),
    max_size=8,
).map("".join)
"""Texts in which nearly everything is about to be found."""
