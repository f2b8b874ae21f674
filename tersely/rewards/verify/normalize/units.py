"""Units: recognises them after a number, and compares two of them."""

from __future__ import annotations

import re
import unicodedata

from tersely.rewards.verify.extract.modifiers import changed_after

_NAMES = {
    "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "m": "m meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres",
    "in": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard yards",
    "mi": "mi mile miles",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years yr yrs",
    "g": "g gram grams",
    "kg": "kg kilogram kilograms",
    "mg": "mg milligram milligrams",
    "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces",
    "L": "L l liter liters litre litres",
    "ml": "mL ml milliliter milliliters",
    "gal": "gal gallon gallons",
    "dollar": "dollar dollars usd USD bucks",
    "cent": "cent cents",
    "euro": "euro euros",
    "rupee": "rupee rupees Rs rs",
    "yuan": "yuan",
    "radian": "rad radian radians",
    "am": "am AM a.m. A.M.",
    "pm": "pm PM p.m. P.M.",
    "mph": "mph mi/h",
    "km/h": "km/h kmh kph",
    "m/s": "m/s",
    "N": "N newton newtons",
    "J": "J joule joules",
    "W": "W watt watts",
    "V": "V volt volts",
    "Hz": "Hz hertz",
    "K": "K kelvin kelvins",
    "mol": "mol moles",
    "even": "even",
    "odd": "odd",
    "left": "left",
    "right": "right",
    "north": "north",
    "south": "south",
    "east": "east",
    "west": "west",
    "positive": "positive",
    "negative": "negative",
}
KNOWN = {name: unit for unit, names in _NAMES.items() for name in names.split()}
_LETTERS = frozenset("msghLNJWVK")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_SYMBOL = re.compile(r"[numckMGT]?(?:Hz|J|W|V|A|N|Pa|eV|cal|Wh|B|b|bps)|rpm|ppm|dB|bpm|fps|psi|pts|pcs")
_SMALL_WORDS = frozenset(
    re.findall(r"\w+", "of per in on at a an the each every to by for and from with than is are was")
)
_FOLLOWING = frozenset(("of", "per", "in", "at", "each", "every", "for", "from", "with"))  # 3/4 of the cake
_NO_WORDS = frozenset(  # they change the number before them, or what is said of it
    re.findall(
        r"\w+",
        "factorial choose plus minus over divided multiplied modulo mod or halves thirds fifths sixths "
        "sevenths eighths ninths tenths hundredths thousandths sin cos tan cot sec csc log exp sqrt lim gcd lcm det",
    )
)
_CHANGED = re.compile(r"than (?:[a-z]|or)\b|^times .|^(?:squared|cubed)\b")
_POWER_WORDS = {"square": "2", "squared": "2", "sq": "2", "sq.": "2", "cubic": "3", "cubed": "3", "cu": "3"}
_TEXT = re.compile(r"\\text\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_POWER = re.compile(r"\s*\^\s*\{?\s*([23])\s*\}?")
_DEGREES = re.compile(r"\s*(?:\^\\circ|degrees?(?![A-Za-z]))\s*")
_ORDINAL = re.compile(r"\s*(?:\^\s*)?\{?\s*(?:\\text\s*\{)?\s*(?:st|nd|rd|th)\s*\}?\s*\}?(?![A-Za-z])")
_WORDS = re.compile(r"[A-Za-z][A-Za-z.'/\- ]*(?:\s*\([A-Za-z ]*\))?")
_CURRENCY = re.compile(r"\\?[$€£¥₹]")
_SIGNS = {"$": "sign:dollar", "€": "sign:euro", "£": "sign:lb", "₹": "sign:rupee"}
_PRIMES = {"'": "sign:prime", "''": "sign:double prime", '"': "sign:double prime"}
_FAMILIES = (
    frozenset({"dollar", "cent", "euro", "rupee", "yuan", "lb"}),
    frozenset({"degree", "radian", "prime"}),
    frozenset({"degree", "double prime"}),
    frozenset({"prime", "double prime"}),
    frozenset({"prime", "in"}),
    frozenset({"double prime", "ft"}),
)
_ASIDE = re.compile(r"\(\s*([A-Za-z][A-Za-z ]{2,})\)")
_SCALES = {"c": "C", "celsius": "C", "centigrade": "C", "f": "F", "fahrenheit": "F"}
_INVERSE = re.compile(r"(?:\s|\\cdot|\*)+([A-Za-z]+)\s*\^\s*\{?\s*-\s*([123])\s*\}?")
_RATES = {"mi/h": "mph", "km/h": "km/h"}
_LIMIT = 60
_OHM = re.compile(r"([kMm]?)(?:\\Omega|Ω|[Oo]hms?)")
_FOREIGN = 24
_FOREIGN_CHANGES = re.compile(
    r"[万萬亿億千百十倍半负負不非没未多少余以分]|より|超|만|천|백|억|보다|이상|이하|미만|초과|아[니닙]|(?<!\w)से(?!\w)|[吗嗎]|हज़ार|लाख|करोड़|नहीं|\b(?:не|нет|тыс|млн|млрд|mil|миллион\w*|тысяч\w*|ألف|مليون|ليس|millones|milh\w+"
    r"|pas|non|demi\w*|y|et|und|e|и)\b",
    re.IGNORECASE,
)
_VOWEL_SIGNS = frozenset("ािीुूृेैोौंँः")


def split_unit(rest: str) -> str | None:
    """The canonical unit of the text after a number: "" for none or an unknown word, None if it is not a unit.

    `cm^2`, `square centimeters` and `\\text{ cm}^2` are "cm^2"; degrees and ordinals are "".
    """
    spaced, rest = rest.startswith(" "), rest.strip()
    if not rest:
        return ""
    if _CURRENCY.fullmatch(rest):
        return currency(rest)
    if rest in _PRIMES:
        return _PRIMES[rest]
    if len(rest) > _LIMIT:
        return None
    ordinal = _ORDINAL.match(rest)
    if ordinal:
        rest = rest[ordinal.end() :].strip()
    degrees = _DEGREES.match(rest)
    if degrees:
        rest = rest[degrees.end() :].strip()
        scale = _TEXT.sub(r"\1", rest).strip(" .").lower()
        if scale in _SCALES:
            return f"degree {_SCALES[scale]}"
        if not rest:
            return "sign:degree"
    marked = "\\text" in rest
    inverse = _INVERSE.search(_TEXT.sub(r" \1 ", rest))
    if inverse:  # m s^{-2}
        below = inverse.group(1) + (f"^{inverse.group(2)}" if inverse.group(2) != "1" else "")
        rest = _INVERSE.sub("", _TEXT.sub(r" \1 ", rest)).rstrip() + f"/{below}"
    power = ""
    words = _TEXT.sub(r" \1 ", rest).strip().rstrip(".").strip()
    found = _POWER.search(words)
    if found and found.end() == len(words):
        power = found.group(1)
        words = words[: found.start()].strip().rstrip(".")
    if aside := _ASIDE.fullmatch(words):
        words, spaced = aside.group(1), True
    if not words:
        return "" if not power else None
    if ohm := _OHM.fullmatch(words):
        return f"{ohm.group(1)}ohm"
    if not words.isascii():
        return "" if _is_foreign_noun(words) else None
    if not _WORDS.fullmatch(words) or not counts(words, marked, spaced):
        return None
    return _canonical(words.split(), power)


def _is_foreign_noun(words: str) -> bool:
    """Whether the word is a counted noun in another language, and does not scale or deny the number."""
    letters = all(
        char.isalpha() or char in " -'." or unicodedata.combining(char) or char in _VOWEL_SIGNS for char in words
    )
    return letters and len(words) <= _FOREIGN and not _FOREIGN_CHANGES.search(words)


def counts(words: str, marked: bool, spaced: bool) -> bool:
    r"""Whether the text after a number is a unit or a counted noun, such as " red apples" and "cm".

    Marked words (in `\text`) are words. Unmarked letters are a product (2xy, 2ab - c, 4 ac) unless they are known units
    or, after a space, look like English. "squared", "tenths" and "or more" change the number.
    """
    words = words.strip()
    each = words.split()
    if _NO_WORDS.intersection(each) or _CHANGED.search(words) or changed_after(words):
        return False
    if marked:
        return True
    if len(words) == 1:
        return spaced and words in _LETTERS  # 2x is a product; "2 m" is two metres
    first, *others = (re.split(r"[/\-]", word.strip("().,")) for word in each)
    if not spaced and not (_known(each[0]) or len(first) > 1 and all(map(_known, first))):
        return False
    return (each[0] in _FOLLOWING or all(map(_is_word, first))) and all(
        "".join(parts) in _SMALL_WORDS or all(map(_is_word, parts)) for parts in others
    )


def _is_word(text: str) -> bool:
    """Whether letters are a unit or a word; "abc" and "xyz" are products."""
    if _known(text) or text in _POWER_WORDS or _SYMBOL.fullmatch(text):
        return True
    if len(text) < 3 or not re.search("[aeiou].|[^aeiou]y", text.lower()):
        return False
    return text not in _ALPHABET


def _canonical(words: list[str], power: str) -> str | None:
    kept = []
    for word in words:
        if word.lower() in _POWER_WORDS:
            power = _POWER_WORDS[word.lower()]
        else:
            kept.append(word)
    unit = _known(kept[0]) if kept else None
    if unit is None and kept and kept[0].count("/") == 1:
        above, below = (_known(part) for part in kept[0].split("/"))
        rate = f"{above}/{below}"
        unit = _RATES.get(rate, rate) if above and below else None
    if unit is None:
        return ""
    if "per" in kept[1:]:
        below = " ".join(kept[kept.index("per", 1) + 1 :])
        rate = f"{unit}/{_known(below) or below}"
        unit = _RATES.get(rate, rate)
    return f"{unit}^{power}" if power else unit


def currency(sign: str) -> str:
    """Return the canonical unit of a currency sign."""
    return _SIGNS.get(sign.strip().removeprefix("\\"), "")


def _known(word: str) -> str | None:
    word = word.replace(".", "")
    return KNOWN.get(word) or KNOWN.get(word.lower())


def units_agree(gold: str, answer: str, how: str) -> bool:
    """Whether two canonical units agree under the policy. A sign (of money, of degrees) may be missing, but must not differ."""
    if how == "drop" or gold == answer:
        return True
    if gold.startswith("sign:") or answer.startswith("sign:"):
        left, right = gold.removeprefix("sign:"), answer.removeprefix("sign:")
        return left == right or not any(left in family and right in family for family in _FAMILIES)
    return how == "optional" and not (gold and answer)


_TRAILING_TEXT = re.compile(
    r"(?P<head>.*[^\s=+\-*/<>,;(\[{&])\s*\\text\s*\{(?P<words>[^{}]*)\}\s*(?:\^\s*\{?\s*[23]\s*\}?)?", re.DOTALL
)
_TRAILING_UNIT = re.compile(r"(?P<head>.*\\pi)\s+(?P<words>[A-Za-z]{2,})(?:\s*\^\s*\{?\s*[23]\s*\}?)?", re.DOTALL)
_TRAILING_WORDS = re.compile(
    r"(?P<head>.*[\d})])\s+(?P<words>[A-Za-z]{2,}(?: [a-z]{2,})*)(?:\s*\^\s*\{?\s*[23]\s*\}?)?", re.DOTALL
)


def without_unit(text: str) -> str:
    r"""The answer without the unit after it: `2\pi \text{ cm}` and `2\pi cm` are `2\pi`. One letter is a variable."""
    if text.isalnum() or len(text) < 3:
        return text
    match = _TRAILING_TEXT.fullmatch(text) if "\\text" in text else None
    said = match.group("words") if match else ""
    if match and not re.fullmatch(r"\s*(?:and|or|if|when|for)\b.*|\s*[A-Za-z]?\s*", said) and counts(said, True, True):
        return match.group("head").strip()
    if len(text.split(None, 1)) < 2:
        return text
    match = _TRAILING_UNIT.fullmatch(text)
    if match and match.group("words") in KNOWN:
        return match.group("head")
    match = _TRAILING_WORDS.fullmatch(text)
    if not match or not counts(match.group("words"), False, True):
        return text
    if not re.search(r"(?<![\\A-Za-z])[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", match.group("head"))):
        return match.group("head").strip()
    return text
