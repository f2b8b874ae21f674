"""Finds the answer of a text by the benchmark's contract, from the end, in time linear in its length.

boxed     the last balanced box, and nothing else
answer    the last box, else the last `<answer>` element, `####` line or answer phrase, else a response that is
          nothing but an answer
lenient   as answer, else the last formula or number

The search starts after the last `</think>` if there is one. Text without content (the "master
keys", an empty box) does not count as an answer.
"""

from __future__ import annotations

import re

from tersely.rewards.verify.extract.boxes import box_span, has_box
from tersely.rewards.verify.extract.languages import after_foreign_phrase
from tersely.rewards.verify.extract.modifiers import denied_after, denied_before, turns
from tersely.rewards.verify.extract.parts import in_parts, labelled_lines
from tersely.rewards.verify.extract.prose import (
    bare_answer,
    bold_answer,
    clean_find,
    last_formula,
    option_answer,
    sentence_answer,
)
from tersely.rewards.verify.judge.input_filter import input_filter

_THINKING, _END_OF_THINKING = "<think>", "</think>"
_PHRASE = re.compile(
    r"(?<![A-Za-z])(?:the\s+)?(?:(?:final|correct|right|resulting)\s+)?(?:answer|result|(?<=correct )(?:option|choice))s?"
    r"(?:\s+(?:to|for|of)\s[^.:\n]{1,80}?)?"
    r"(?:\s*\([^()\n]{0,40}\))?[*_\s]*(?:(?:is|are|was|equals|becomes)\b|[:=：]|(?=[$\\]))[*_\s]*(?:[:=：][*_\s]*)?"
    r"(?:(?:therefore|thus|simply|indeed|given by|equal to|then|also)\b[,:\s]*)*",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\s*(?:not|n't|never|neither|no\s+longer|unknown|unclear|incorrect|wrong)\b", re.IGNORECASE)
_SUPPOSED = re.compile(
    r"\b(?:if|suppose|unless|whether|wrong|incorrect|false|not|mistaken|invalid|possible|an?)\s+(?:the\s+)?$",
    re.IGNORECASE,
)
_NOT_SAID = re.compile(
    r"\b(?:nobody|no[ -]one|none|never|not|n't|cannot)\s+(?:\w+\s+){0,3}?(?:say|said|think|thought|believe[sd]?|claim(?:s|ed)?"
    r"|conclude[sd]?|mean[st]?|agree[sd]?)\s+(?:that\s+)?(?:the\s+)?$",
    re.IGNORECASE,
)
_JSON = re.compile(
    r"[\"'](?:final_)?answer[\"']\s*:\s*(?:\"(?P<text>[^\"\n]{1,200})\"|(?P<number>[-+]?\d[\d.,/]*))\s*[,}\n]",
    re.IGNORECASE,
)
_CLAUSE, _TAIL, _OPENING = 200, 8, 500  # characters
_ANSWER_LINE = re.compile(r"(?:^|\n)[ \t>*_#]*A(?:ns)?[ \t]*[*_]*[:.][*_]*[ \t]+([^\n]+)\s*$")
_ANSWER_WORDS = ("answer", "result", "correct option", "correct choice")
_HEADING = re.compile(
    r"(?:^|\n)[ \t]*(?:[#*_]+[ \t]*(?:final[ \t]+)?|final[ \t]+)answer[ \t]*[#*_: \t]*\n\s*(?P<rest>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
_MINERVA = re.compile(r"The final answer is (?P<rest>.{1,400}?)\.? I hope it is correct", re.DOTALL)
_ATTEMPTS = 40
_PHRASE_REACH = 4000


def find_answer(text: str, contract: str = "answer") -> str | None:
    """The answer of a response under the contract; None without one. Never raises on any string."""
    read = after_thinking(text, contract)
    if read is None:
        return None
    text = read
    box = box_span(text)
    found = None if box is None else box[0]
    if contract != "boxed" and box is None:
        found = _explicit(text)
        if found is None and contract == "lenient":
            found = last_formula(text)
    elif contract != "boxed" and box is not None:
        if denied_before(text[max(0, box[1] - _CLAUSE) : box[1]]):
            return None
        found = _overruled(text, box[2]) or (None if denied_after(text[box[2] : box[2] + _CLAUSE]) else found)
    if found is None:
        return None
    found = clean_find(found)
    if has_box(found):
        return None  # a box that never closes
    return None if input_filter(found) else found


def answer_in_parts(text: str, contract: str = "answer") -> str | None:
    r""" "(1) 3; (2) 5" of a response to a question in parts, which answers (a) and (b) in lines or boxes of their own.

    None if the parts are not labelled, if one has no answer, or if the last answer is already one for all parts.
    """
    read = after_thinking(text, contract)
    segments = labelled_lines(read[-_PHRASE_REACH:]) if read else []
    if len(segments) < 2 or segments[-1].count("\\boxed") > 1:
        return None
    answers = [find_answer(segment, contract) for segment in segments]
    if any(answer is None or "," in answer or in_parts(answer) for answer in answers):
        return None
    return "; ".join(f"({number}) {answer}" for number, answer in enumerate(answers, start=1))


def after_thinking(text: str, contract: str) -> str | None:
    """The part of a response that may contain an answer; None if the thinking was cut off."""
    cut = text.rfind(_END_OF_THINKING)
    if cut >= 0:
        text = text[cut + len(_END_OF_THINKING) :]
    if text.find(_THINKING, 0, _OPENING) >= 0:
        element = text.rfind("<answer>")
        if element < text.rfind(_THINKING) or contract == "boxed":
            return None
        text = text[element:]  # an answer, although the thinking never closes
    return text


def _explicit(text: str) -> str | None:
    close = text.rfind("</answer>")
    if close >= 0:
        begin = text.rfind("<answer>", 0, close)
        if begin >= 0:
            return sentence_answer(text[begin + len("<answer>") : close])
    hashes = text.rfind("####")
    if hashes >= 0:
        line = text[hashes + 4 :].lstrip(" \t#")
        return sentence_answer(line.split("\n", 1)[0])
    line_answer = _ANSWER_LINE.search(text, max(0, len(text) - 400))
    if line_answer:
        return sentence_answer(line_answer.group(1))
    if "answer" in text[-600:].lower():
        heading = _HEADING.search(text, max(0, len(text) - 600))
        if heading:
            return sentence_answer(heading.group("rest"))
        elements = list(_JSON.finditer(text, max(0, len(text) - 400)))
        if elements:
            return elements[-1].group("text") or elements[-1].group("number")
    phrase = _after_phrase(text)
    if phrase is not None:
        return phrase
    rest = after_foreign_phrase(text)
    if rest is not None:
        return option_answer(rest) or sentence_answer(rest)
    return option_answer(text) or bold_answer(text) or bare_answer(text)


def _overruled(text: str, end: int) -> str | None:
    """The answer stated after the last box, if the text retracts the box, or in the closing sentence of few-shot prompts
    ("The final answer is $7$. I hope it is correct.").
    """
    at = text.rfind("The final answer is ", max(end, len(text) - 500))
    said = _MINERVA.match(text, at) if at >= 0 and not has_box(text[at:]) else None
    if said:
        return sentence_answer(said.group("rest"))
    tail = text[end : end + _PHRASE_REACH]
    return _after_phrase(tail) if len(tail) > _TAIL and turns(tail) else None


def _after_phrase(text: str) -> str | None:
    """The answer after the last answer phrase that states one; "the answer is not 70" states none."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = text
    last = {word: lowered.rfind(word) for word in _ANSWER_WORDS}
    for _ in range(_ATTEMPTS):
        word = max(last, key=last.__getitem__)
        at = last[word]
        if at < 0:
            return None
        last[word] = lowered.rfind(word, 0, at)
        begin = max(0, at - 20)
        for match in _PHRASE.finditer(text, begin, min(len(text), at + 160)):
            if match.start() <= at < match.end():
                rest = text[match.end() : match.end() + _PHRASE_REACH]
                start = match.start()
                supposed = _SUPPOSED.search(text, max(0, start - 12), start)
                if _NEGATION.match(rest) or supposed or _NOT_SAID.search(text, max(0, start - 60), start):
                    break
                found = sentence_answer(rest)
                if found:
                    return found
                break
    return None
