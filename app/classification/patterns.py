"""The signs by which a text's task and risk are guessed.

They are heuristics for English and for code: good enough to group requests by how long their
answers tend to be and to flag what deserves a look, and no more. Each is an RE2 pattern over folded
text, without regard to case; `^` and `$` are the ends of a line.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Task(StrEnum):
    """The kind of task that a text sets."""

    SIMPLE = "simple"
    COMPLEX = "complex"
    CODE = "code"
    LONG_CONTEXT = "long_context"


CODE: Mapping[str, str] = MappingProxyType(
    {
        "code:fence": r"^ {0,3}(?:```|~~~)",
        "code:python": (
            r"^\s*(?:async )?def \w+\(|^\s*class \w+[(:]"
            r"|^(?:from [\w.]+ import |import [\w.]+(?:,| as |;|\s*$))"
        ),
        "code:c-like": (
            r"^\s*#include *[<\"]|\b(?:public|private|static) [\w<>\[\] ]+\(|\)\s*\{\s*$"
        ),
        "code:script": r"\bfunction\s*\w*\(|=> *\{|\bconsole\.log\(|\b(?:const|let|var) \w+ *=",
        "code:sql": r"\bselect\s[^;]*\sfrom\s[^;]*(?:\s(?:where|join|group by|order by|limit)\s|;)",
        "code:markup": r"</(?:html|div|span|body|head|script|table)>|^<\?(?:php|xml)|^#!/",
        "code:trace": r"traceback \(most recent call|^\s+at [\w.$]+\(|\bsegmentation fault\b",
        "code:asked": (
            r"\b(?:writ|implement|fix|debug|refactor|optimi[sz]|review|port|translat)(?:e|ing)?\b"
            r"[^.?!\n]*\b(?:code|function|method|class|script|program|regex|regular expression|"
            r"sql|query|api|unit tests?|dockerfile|makefile|bash|python|javascript|typescript|"
            r"java|rust|golang|c\+\+|algorithm)(?:\W|$)"
        ),
    }
)
"""Signs of a task about code; one is enough."""

COMPLEX: Mapping[str, str] = MappingProxyType(
    {
        "complex:steps": (
            r"\bstep[- ]by[- ]step\b|\bchain of thought\b|\bshow your (?:work|reasoning)\b"
        ),
        "complex:reasoning": (
            r"\b(?:prove|derive|justify|analy[sz]e|evaluate|critique|critically|assess)\b"
            r"|\bexplain (?:why|how|in)\b|\btrade-?offs?\b|\bpros and cons\b|\bimplications of\b"
        ),
        "complex:comparing": r"\bcompare\b|\bdifferences? between\b|\bcontrast\b|\bversus\b",
        "complex:depth": r"\b(?:in (?:great )?(?:detail|depth)|detailed|comprehensive|thorough)\b",
        "complex:writing": (
            r"\b(?:write|draft|compose)\b[^.?!\n]*"
            r"\b(?:essay|report|article|story|proposal|paper|chapter|speech|plan)\b"
        ),
        "complex:planning": r"\b(?:design|architect|devise|plan) (?:an?|the|my|our)\b|\bstrategy\b",
        "complex:parts": r"^\s*(?:3|c)[.)] ",
    }
)
"""Signs of a task whose answer takes more than a few sentences; one is enough."""

_GIVEN = r"(?:instructions?|prompts?|rules|guidelines|directives?|restrictions|constraints)"
_BEFORE = r"(?:previous|prior|above|earlier|preceding|former|foregoing|existing|initial|original)"

INJECTION: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "risk:override": (
            0.6,
            (
                r"\b(?:ignore|disregard|forget|override|bypass|overlook|neglect)\b[^.?!]*"
                rf"\b(?:{_BEFORE}|your|system)\b[^.?!]*\b{_GIVEN}\b"
                r"|\b(?:ignore|disregard|forget|override|bypass)"
                rf" (?:all|any|every)(?: of)?(?: the| these| those| my)? {_GIVEN}"
                r"(?: (?:above|before|so far|given|you)|[.:;,!]|$)"
                r"|\b(?:ignore|disregard|forget|override|bypass)(?: all| any| every| your| the)+"
                rf" (?:safety|content|ethical|moral|security) {_GIVEN}"
                r"|\b(?:ignore|disregard|forget) (?:everything|all|anything)"
                r"(?: that| which)?(?: was| is| has been| came)?(?: said| written| told)?"
                r" (?:above|before(?: this)?\b|so far|you (?:were|have been|are|know|'ve been))"
                r"|\b(?:do not|don't|stop) (?:follow|obey)(?:ing)?\b[^.?!]*"
                rf"\b(?:{_BEFORE}|your|system)\b[^.?!]*\b{_GIVEN}\b"
                r"|\bignoriere?n?(?: sie)?\b[^.?!]*\b(?:vorherig|bisherig|obig|vorig)\w*"
                r" (?:anweisung|instruktion|regel|vorgabe)"
                r"|\bignor(?:a|e|ez|ar)\b[^.?!]*\b(?:instruc\w+|instrucoes|istruzioni|regles|"
                r"reglas|regras)\b[^.?!]*\b(?:anterior|previ|precedent|ci-dessus|acima)"
            ),
        ),
        "risk:reveal": (
            0.5,
            (
                r"\b(?:reveal|show|print|repeat|output|display|leak|tell|give|share|paste|recite)\b"
                r"[^.?!]*\b(?:(?:system|hidden|secret|developer) (?:prompt|instructions?|message)|"
                r"(?:initial|original) (?:prompt|instructions?))\b"
                r"|\bwhat (?:is|was|are|were|does) your (?:system|hidden|initial|secret|original)"
                r" (?:prompt|instructions?|message)\b"
                r"|\b(?:repeat|print|output|copy|recite) (?:all |everything |the (?:words|text|"
                r"contents?) |verbatim )+(?:above|before this)\b"
            ),
        ),
        "risk:persona": (
            0.5,
            (
                r"\bdo anything now\b|\bjailbr(?:eak|oken)|\b(?:as|be) your evil \w+|"
                r"\b(?:enter|enable|activate|into|unlock|in) (?:\w+ )?(?:dan|god|unrestricted|"
                r"jailbreak|unfiltered) mode\b|\b(?:you are|act|respond|answer|reply)(?: now)?"
                r" (?:in|as if in) (?:\w+ )?(?:developer|debug|sudo|admin) mode\b|"
                r"\b(?:developer|dan|god) mode (?:enabled|activated|on(?:[.:;,!]|$))|"
                r"\b(?:you are now|act as|pretend|role-?play|imagine|respond as|answer as)\b"
                r"[^.?!]*\b(?:dan|unrestricted|unfiltered|uncensored|no longer bound|"
                r"(?:without|no|free of|free from)(?: any| all)?"
                r"(?: ethical| moral| content| safety| openai)?"
                r" (?:rules|restrictions|limits|filters|guidelines|constraints|limitations))\b"
            ),
        ),
        "risk:new-orders": (
            0.4,
            (
                r"^\W{0,4}(?:new|updated|real|actual|revised) (?:system )?"
                r"(?:instructions?|prompt|task|rules)\W{0,3}:"
                r"|\byour (?:new|real|actual|true) (?:instructions?|task|orders|purpose|goal)"
                r" (?:is|are)\b"
            ),
        ),
        "risk:control-tokens": (
            0.5,
            (
                r"<\|\w+\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
                r"|^#{2,} *(?:system|instruction)s?:"
            ),
        ),
    }
)
"""Signs of an attempt on the model, with the risk that each one is taken for (0 to 1)."""

_MAKE = r"(?:repeat|write|print|say|type|output|generate|produce|list|count|recite|give|send)"
_MANY = (
    r"(?:[1-9]\d{4,}|[1-9]\d{0,2}(?:,\d{3})+|(?:\w+ )?(?:millions?|billions?|trillions?)|"
    r"(?:ten|twenty|fifty|hundred|a hundred) thousand)"
)

EXHAUSTION: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "risk:endless": (
            0.4,
            (
                rf"\b{_MAKE}\b[^.?!\n]*\b(?:forever|endlessly|infinitely|indefinitely|"
                r"non-?stop|in an (?:endless|infinite) loop|with no end|"
                r"without (?:ever )?(?:stopping|ending|end|pause|pausing)|"
                r"an infinite (?:number|amount|list|story)|"
                r"until (?:you (?:run out|crash|die|reach|hit|can)|i (?:say|tell)|the (?:context|"
                r"token|end of (?:your|the) (?:context|tokens))))"
                r"|\b(?:never|do not|don't) (?:ever )?stop "
                r"(?:writing|generating|talking|printing|repeating|outputting|counting|until)"
                r"|\bas many (?:tokens|words|times|characters|lines) as (?:you|possible|the)\b"
                r"|\b(?:use|fill|exhaust|use up) (?:up )?(?:all|the (?:whole|entire)) "
                r"(?:of )?(?:your |the )?(?:tokens?|context|output)"
            ),
        ),
        "risk:huge-output": (
            0.4,
            (
                rf"\b{_MAKE}\b[^.?!\n]*\b{_MANY}\+? "
                r"(?:\w+ )?(?:times|words|tokens|lines|digits|characters|letters|numbers|copies|"
                r"pages|paragraphs|sentences|essays|stories|poems|items|names|primes?|integers|"
                r"decimals|rows)\b"
                rf"|\bcount\b[^.?!\n]*\bto {_MANY}\b"
                rf"|\b{_MAKE}\b[^.?!\n]*\bfrom (?:1|one|0|zero) to {_MANY}\b"
            ),
        ),
    }
)
"""Signs of a request for more output than anybody reads, with their risk."""

RISK: Mapping[str, tuple[float, str]] = MappingProxyType({**INJECTION, **EXHAUSTION})
"""All of them."""
