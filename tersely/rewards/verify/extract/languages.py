"""Answer phrases in languages other than English, and short statements in scripts without spaces between words."""

from __future__ import annotations

import re

_COLON = r"\s*[:：=]?\s*"
_VALUE_NEXT = r"\s+(?=[-−$\\(（]{0,3}[\d$\\])"
_SPACED = (  # phrase, then a form of "to be" or a colon
    r"(?:respuestas?|resposta|risposta|soluci[oó]n|soluzione|resultado|risultato|solu[cç][aã]o)"
    r"(?:\s+(?:final|correcta|correta|corretta|finale))?(?:\s+(?:es|son|é|è|são|sono)\b|\s*[:：=])",
    r"(?:réponses?|reponse|résultat|solution)(?:\s+(?:finale|correcte|exacte))?"
    r"(?:\s+(?:est|sont)\b(?:\s+donc)?|\s*[:：=])",
    r"(?:lautet|ist|beträgt)\s+(?:also\s+|somit\s+|daher\s+)?(?:die|das)\s+(?:\w+e\s+)?(?:antwort|ergebnis|lösung)",
    r"(?:antwort|ergebnis|lösung)(?:\s+(?:ist|lautet|beträgt)\b(?:\s+(?:also|daher|somit))?|\s*[:：=])",
    r"(?:antwoord|svar(?:et)?)(?:\s+(?:is|är|er)\b|\s*[:：=])",
    r"(?:правильный\s+|окончательный\s+)?(?:ответ|відповідь|результат)"
    rf"(?:\s+(?:равен|есть|—|-)|\s*[:：=—]|{_VALUE_NEXT})",
    r"(?:odpowied[zź]|odpověď|válasz|răspuns(?:ul)?|jawaban(?:nya)?)(?:\s+(?:to|jest|je|este|adalah)\b|\s*[:：=])",
    rf"(?:cevap|cevabı|yanıt|sonuç)(?:\s*[:：=]|{_VALUE_NEXT})",
    r"(?:đáp\s+án|đáp\s+số|câu\s+trả\s+lời|kết\s+quả)(?:\s+(?:đúng|cuối\s+cùng|chính\s+xác))?(?:\s+là\b|\s*[:：=])",
    r"(?:الإجابة|الجواب|الاجابة|الناتج)(?:\s+(?:النهائية|الصحيحة|النهائي|الصحيح))?(?:\s+(?:هي|هو)|\s*[:：=])",
    r"(?:अंतिम\s+|सही\s+)?(?:उत्तर|जवाब|परिणाम)"
    r"(?:\s*(?:है|होगा)?\s*[:：=]|\s+(?:है|होगा)(?=\s*[-\d०-९$\\])|\s+(?=[-−]?[\d०-९$\\]))",
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
    rf"(?:(?<![^\W\d_])(?:{'|'.join(_SPACED)})|{'|'.join(_JOINED)})" + _COLON,
    re.IGNORECASE,
)
_BEFORE_VALUE = re.compile(
    r"[不非错錯]|小于|大于|少于|多于|超过|低于|高于|可能|至少|至多|最多|平方|少なくとも|高々|最小|최소|최대|적어도|(?<!\w)(?:no|not|non|nicht|kein\w*|não|pas|не|niet|inte|nie|không|ليس\w*"
    r"|weder|menor|mayor|maior|menos|más|mais|minore|maggiore|inferior\w*|superior\w*|inférieure?s?|supérieure?s?|moins"
    r"|plus|kleiner|größer|weniger|mehr|меньше|больше|менее|более|أقل|أكثر|أصغر|أكبر|nhỏ|lớn|ít|nhiều|doble|dobro|doppio"
    r"|double|triple|triplo|mitad|metade|metà|moitié|doppelte|dreifache|hälfte|вдвое|удвоенн\w*|половина|ضعف|نصف|gấp|nửa"
    r"|incorr[e]c?t\w*|fal[s]\w*|fausse?s?|faux|errat\w*|errad\w*|sbagliat\w*|неверн\w*|yanlış|خاطئ\w*|sai"
    r"|raíz|raiz|racine|radice|wurzel|корень|جذر|căn|cuadrado|quadrado|quadrato|quadrat|carré|квадрат|höchstens|mindestens|almeno"
    r"|минимум|максимум|en az|en çok|गलत|कम|entre|zwischen|между|بين|giữa|casi|quase|presque|quasi|fast|почти|gần)(?!\w)",
    re.IGNORECASE,
)
"""Words between an answer phrase and its value that deny or change the value."""
AFTER_VALUE = re.compile(
    r"では(?:ない|なく|ありません)|じゃない|でなく|より|以上|以下|未満|の?[0-9２-９二三]?倍|半分|[가이은는]?\s*아[니닙]|보다|이상|이하|미만|초과"
    r"|नहीं|\bसे\s+(?:कम|अधिक|ज़्यादा|ज्यादा|बड़|छोट)|का\s+(?:दुगुना|दोगुना|आधा)|değil|'?[dt][ea]n\s+(?:\w+\s+)?(?:küçük|büyük|az|fazla|çok)"
    r"|(?:katı|yarısı)|[吗嗎]|ですか|mı\b|क्या|的?[0-9一二两三四五六七八九十]?(?:倍|一半)|左右|以内|以外",
    re.IGNORECASE,
)
"""Words after a value that deny or change it."""
_CLAUSE_END = re.compile(r"[.。!！?？،,，;；\n।](?!\d)")
_HEAD_END = re.compile(r"[\d०-९٠-٩０-９$\\\n]")
_OPTION = re.compile(
    r"\s*(?:(?:la|a|l'|die|das|de|het)\s*)?(?:opci[oó]n|opção|opzione|option|вариант|选项|選項|選択肢)\s*(?=[(（*]*[A-Za-z]\b)",
    re.IGNORECASE,
)
_STATED = re.compile(
    r"[^。，,\n]{0,20}?(?:是|为|為|等于|等於|共有|は)\s*(?P<value>[-−]?[\d$\\(\[{√根][^。，,\n]{0,80})$"
)
_NEGATED = re.compile(r"[不非没]|ではな|じゃな|ありません|아니|아닙")
_REACH = 4000
_CLAUSE = 80
_LETTERS = 12


def after_foreign_phrase(text: str) -> str | None:
    """The text after the last answer phrase in one of these languages; "" if it is denied, None without a phrase."""
    if text.isascii() and not _LATIN.search(text):
        return None
    found = None
    for match in _PHRASE.finditer(text, max(0, len(text) - _REACH)):
        found = match
    if found is None:
        return None
    rest = text[found.end() :]
    if _changed(rest):
        return ""
    option = _OPTION.match(rest)
    return rest[option.end() :] if option else rest


_LATIN = re.compile(r"(?i)resp[ou]|risposta|r[ei]sult|solu|reponse|antwo|ergebnis|svar|odpowied|cevap|jawaban")


def _changed(rest: str) -> bool:
    """Whether the words around the value after an answer phrase deny or change it."""
    value = _HEAD_END.search(rest[:_CLAUSE])
    begin = value.start() if value else 0
    if _BEFORE_VALUE.search(rest, 0, begin) or (value is None and _BEFORE_VALUE.match(rest.lstrip(" *:"))):
        return True
    end = _CLAUSE_END.search(rest, begin)
    return bool(AFTER_VALUE.search(rest, begin, min(end.start() if end else len(rest), begin + _CLAUSE)))


def stated(text: str) -> str | None:
    """The value of a short statement in a script without spaces: 13/28 of "比例为13/28"."""
    if text.isascii():
        return None
    found = _STATED.fullmatch(text.strip(" 。."))
    if found is None or _NEGATED.search(text) or _BEFORE_VALUE.search(text, 0, found.start("value")):
        return None
    return found.group("value").strip()


def is_foreign_prose(text: str) -> bool:
    """Whether the text has too many letters of other scripts for an answer."""
    return not text.isascii() and sum(char.isalpha() and ord(char) > 0x370 for char in text) > _LETTERS
