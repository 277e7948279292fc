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

RISK: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "risk:override": (
            0.6,
            (
                r"\b(?:ignore|disregard|forget|override|bypass)\b[^.?!]*"
                r"\b(?:previous|prior|above|earlier|preceding|your|system|all)\b[^.?!]*"
                r"\b(?:instructions?|prompts?|rules|guidelines|directives?|restrictions)\b"
            ),
        ),
        "risk:reveal": (
            0.5,
            (
                r"\b(?:reveal|show|print|repeat|output|display|leak|tell|give)\b[^.?!]*"
                r"\b(?:system|hidden|initial|secret|original|developer)"
                r" (?:prompt|instructions?|message)\b"
            ),
        ),
        "risk:persona": (
            0.5,
            (
                r"\bdo anything now\b|\bjailbr(?:eak|oken)|\b(?:developer|dan|god) mode\b|"
                r"\b(?:you are now|act as|pretend|role-?play)\b[^.?!]*"
                r"\b(?:dan|unrestricted|unfiltered|uncensored|no longer bound|"
                r"(?:without|no)(?: any)? (?:rules|restrictions|limits|filters|guidelines))\b"
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
