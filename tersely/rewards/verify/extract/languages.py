"""Answer phrases in languages other than English, and short statements in scripts that put no spaces between words."""

from __future__ import annotations

import re

_COLON = r"\s*[:：=]?\s*"
_SPACED = (  # phrase, then a form of "to be" or a colon
    r"(?:respuestas?|resposta|risposta|soluci[oó]n|resultado|risultato|solu[cç][aã]o)(?:\s+(?:final|correcta|correta|corretta|finale))?"
    r"(?:\s+(?:es|son|é|è|são|sono)\b|\s*[:：=])",
    r"(?:réponses?|reponse|résultat|solution)(?:\s+(?:finale|correcte|exacte))?(?:\s+(?:est|sont)\b(?:\s+donc)?|\s*[:：=])",
    r"(?:antwort|ergebnis|lösung)(?:\s+(?:ist|lautet|beträgt)\b(?:\s+(?:also|daher))?|\s*[:：=])",
    r"(?:antwoord|svar(?:et)?)(?:\s+(?:is|är|er)\b|\s*[:：=])",
    r"(?:правильный\s+|окончательный\s+)?(?:ответ|відповідь|результат)(?:\s+(?:равен|есть|—|-)|\s*[:：=—])",
    r"(?:odpowied[zź]|odpověď|válasz|răspuns(?:ul)?|cevap|jawaban(?:nya)?|đáp\s+án|câu\s+trả\s+lời)"
    r"(?:\s+(?:to|jest|je|este|adalah|là)\b|\s*[:：=])",
    r"(?:الإجابة|الجواب|الاجابة|الناتج)(?:\s+(?:النهائية|الصحيحة|النهائي|الصحيح))?(?:\s+(?:هي|هو)|\s*[:：=])",
    r"(?:अंतिम\s+|सही\s+)?(?:उत्तर|जवाब)(?:\s*(?:है|होगा)?\s*[:：=]|\s+(?:है|होगा))",
)
_JOINED = (
    r"【\s*(?:答案|正解|解答|答)\s*】",
    r"(?:最终|最終|正确|正確)?(?:答案|选项|選項)\s*(?:应该|應該|应)?(?:是|为|為|选|選|就是|[:：=])",
    r"(?:^|[\n。，,])\s*答\s*[:：]",
    r"(?:^|[\n。，,；;])\s*故(?:选|選)\s*[:：]?",
    r"(?:答え|解答|正解)\s*(?:は|[:：=])",
    r"(?:정답|답|결과)\s*(?:은|는|[:：=])",
)
_PHRASE = re.compile(
    "(?:" + "|".join(rf"(?<![^\W\d_]){phrase}" for phrase in _SPACED) + "|" + "|".join(_JOINED) + ")" + _COLON,
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\s*(?:不|非|no\b|not\b|non\b|nicht\b|não\b|pas\b|не\b|niet\b|inte\b|nie\b|ليس|ليست|नहीं|でなく|ではない|아니)",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(r"[^.。,，、\n]{1,40}?(?:では(?:ない|なく|ありません)|じゃない|아니|아닙니다|नहीं|değil)")
_CHANGED = re.compile(
    r"\s*(?:(?:el|la|o|a|le|das|die) )?(?:doble|dobro|double|triple|mitad|metade|moitié|doppelte|hälfte|kleiner als|größer als"
    r"|menor que|mayor que|maior que|inférieure? à|supérieure? à|меньше|больше|小于|大于|少于|多于|超过)",
    re.IGNORECASE,
)
"""Words before a value that make another one of it."""
_OPTION = re.compile(
    r"\s*(?:(?:la|a|l'|die|das|de|het)\s*)?(?:opci[oó]n|opção|opzione|option|вариант|选项|選項|選択肢)\s*(?=[(（*]*[A-Za-z]\b)",
    re.IGNORECASE,
)
_STATED = re.compile(
    r"[^。，,\n]{0,20}?(?:是|为|為|等于|等於|共有|は)\s*(?P<value>[-−]?[\d$\\(\[{√根][^。，,\n]{0,80})$"
)
_NEGATED = re.compile(r"[不非没]|ではな|じゃな|ありません|아니|아닙")
_REACH = 4000
_LETTERS = 12


def after_foreign_phrase(text: str) -> str | None:
    """What follows the last answer phrase in one of these languages, None where there is none or it is denied."""
    if text.isascii() and not _LATIN.search(text):
        return None
    found = None
    for match in _PHRASE.finditer(text, max(0, len(text) - _REACH)):
        found = match
    if found is None:
        return None
    rest = text[found.end() :]
    if _DENIED.match(rest) or _DENIED_AFTER.match(rest) or _CHANGED.match(rest):
        return None
    option = _OPTION.match(rest)
    return rest[option.end() :] if option else rest


_LATIN = re.compile(r"(?i)resp[ou]|risposta|result|solu|reponse|antwo|ergebnis|svar|odpowied|cevap|jawaban")


def stated(text: str) -> str | None:
    """13/28 of a short statement in a script without spaces ("比例为13/28")."""
    if text.isascii():
        return None
    found = _STATED.fullmatch(text.strip(" 。."))
    return found.group("value").strip() if found and not _NEGATED.search(text) else None


def is_foreign_prose(text: str) -> bool:
    """More letters of other scripts than an answer has."""
    return not text.isascii() and sum(char.isalpha() and ord(char) > 0x370 for char in text) > _LETTERS
