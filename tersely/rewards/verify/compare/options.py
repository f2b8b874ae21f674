"""Multiple choice: an option's letter, its text, or both, against the options that the prompt lists."""

from __future__ import annotations

import re

from tersely.configs.verifier import Policy
from tersely.rewards.verify.compare.quick import quick_match, tidied_text
from tersely.rewards.verify.compare.rules import chosen
from tersely.rewards.verify.extract.parts import options_of
from tersely.rewards.verify.normalize.latex import squeeze

_STARTS = frozenset("ABCDEFGHabcdefgh(\\*$oO ")
_LEADS = re.compile(
    r"\W*(?:\\?(?:text|textbf|mathrm|mathbf)\s*\{\W*)?(?:option |choice )?\(?[A-Ha-h](?![A-Za-z0-9_^])", re.IGNORECASE
)
_NAMED_TOO = re.compile(r"(?P<letter>[A-H])\s*[,;–-]\s*(?P<content>\S.*)", re.DOTALL)


def by_option(gold: str, answer: str, prompt: str, policy: Policy) -> bool | None:
    """Whether an answer chooses the gold among the options of the prompt; None if the options do not decide.

    A letter with the text of another option is incorrect.
    """
    if not any(text[:1] in _STARTS and _LEADS.match(text) for text in (gold, answer)):
        return None
    options = options_of(prompt)
    if not options:
        return None
    gold, answer = tidied_text(gold), tidied_text(answer)
    wanted, made = chosen(gold), chosen(answer) or _named_too(answer, options)
    if wanted is not None and wanted[0].upper() in options:
        letter = wanted[0].upper()
        if made is None:
            return True if _only(letter, answer, options, policy) else None
        if made[0].upper() != letter:
            return None
        return _own_text(letter, made[1], options, policy)
    if made is None or made[0].upper() not in options:
        return None
    letter = made[0].upper()
    if not _same(gold, options[letter], policy):
        return None
    return _own_text(letter, made[1], options, policy)


def _named_too(answer: str, options: dict[str, str]) -> tuple[str, str] | None:
    """(letter, text), such as ("B", "Jupiter") of "B, Jupiter", where Jupiter is the text of B."""
    found = _NAMED_TOO.fullmatch(answer)
    if found is None or squeeze(options.get(found.group("letter"), "")) != squeeze(found.group("content")):
        return None
    return found.group("letter"), found.group("content")


def _own_text(letter: str, content: str, options: dict[str, str], policy: Policy) -> bool:
    """Whether the text after a letter is empty, or not the text of another option."""
    if not content or _same(options[letter], content, policy):
        return True
    return not any(_same(text, content, policy) for text in options.values())


def _only(letter: str, answer: str, options: dict[str, str], policy: Policy) -> bool:
    """Whether an answer is the text of this option and of no other."""
    return [name for name, text in options.items() if _same(text, answer, policy)] == [letter]


def _same(gold: str, answer: str, policy: Policy) -> bool:
    if not gold or not answer:
        return False
    found = quick_match(tidied_text(gold), tidied_text(answer), policy)
    return found is not None and found[0]
