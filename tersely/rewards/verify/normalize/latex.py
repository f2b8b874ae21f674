r"""Normalises LaTeX: one spelling per expression, for the exact match and all later steps."""

from __future__ import annotations

import re
from functools import lru_cache

from tersely.rewards.verify.extract.modifiers import changed_before
from tersely.rewards.verify.extract.parts import spelled_in_parts
from tersely.rewards.verify.extract.statements import statement_value

_UNICODE = str.maketrans(
    {
        "−": "-", "–": "-", "‐": "-", "‑": "-", "‒": "-",
        "⁄": "/", "º": r"^\circ ", "﹣": "-", "－": "-", "＋": "+", "＝": "=", "＜": "<", "＞": ">", "（": "(", "）": ")",
        "，": ",", "；": ";", "：": ":", "％": "%", "∶": ":", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
        "÷": r"\div ", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ",
        "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "±": r"\pm ", "∓": r"\mp ",
        "°": r"^\circ ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R} ", "√": r"\sqrt ", "²": "^2", "³": "^3", "½": r"\frac{1}{2}",
        "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "′": "'", "’": "'", "″": "''",
        "¢": r"\text{ cents}", "¹": "^1",
        "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "θ": r"\theta ", "λ": r"\lambda ", "φ": r"\varphi ",
        "∀": r"\forall ", "∃": r"\exists ", "、": ", ", "｛": r"\{", "｝": r"\}", "［": "[", "］": "]", "。": ".", "＊": "*",
        "／": "/", "．": ".", "＾": "^", "和": r"\text{ and }", "或": r"\text{ or }", "℃": r"^\circ C",
        **{chr(zero + digit): str(digit) for zero in (0xFF10, 0x660, 0x6F0, 0x966, 0x9E6) for digit in range(10)},
        **{chr(0xFEE0 + ord(letter)): letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"},
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u3000": " ", "\u200b": "", "\ufeff": "", "\x00": "",
    }
)  # fmt: skip
# (texts, pattern, replacement): every match contains one of the texts. Most patterns match few answers, and the search for a
# text is ten times faster than the search for a pattern.
_SYNONYMS = [
    (r"left|ig|middle", re.compile(r"\\(?:left|right|[bB]igg?[lr]?|middle)(?![A-Za-z])\.?\s*"), ""),
    (r"style|limits|strut|phantom|boldsymbol",
     re.compile(r"\\(?:displaystyle|textstyle|limits|nolimits|mathstrut|strut|phantom\{[^{}]*\}|boldsymbol)(?![A-Za-z])"), ""),
    (r"dfrac|tfrac|cfrac", re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (r"\leq", re.compile(r"\\(?:leqslant|leqq|leq)(?![A-Za-z])"), r"\\le"),
    (r"\geq", re.compile(r"\\(?:geqslant|geqq|geq)(?![A-Za-z])"), r"\\ge"),
    (r"\neq", re.compile(r"\\neq(?![A-Za-z])"), r"\\ne"),
    (r"\lt", re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (r"\gt", re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (r"\lbrace", re.compile(r"\\(?:lbrace)(?![A-Za-z])"), r"\\{"),
    (r"\rbrace", re.compile(r"\\(?:rbrace)(?![A-Za-z])"), r"\\}"),
    (r"\varnothing|\O", re.compile(r"\\(?:varnothing|O(?![A-Za-z]))"), r"\\emptyset"),
    (r"\bigcup|\cupdot", re.compile(r"\\bigcup(?![A-Za-z])|\\cupdot(?![A-Za-z])"), r"\\cup"),
    (r"\colon", re.compile(r"\\(?:colon)(?![A-Za-z])"), ":"),
    (r"dots|...", re.compile(r"\\(?:[lc]?dots[cbmi]?)(?![A-Za-z])|(?<=[,+*\s])\.\.\.(?=[,+*\s\\}]|$)"), r"\\ldots "),
    (r"\tiny|small|\normalsize|arge|\LARGE|uge|\bf|\rm|\it|\color",
     re.compile(r"\\(?:tiny|small|normalsize|[lL]arge|LARGE|[hH]uge|bf|rm|it)(?![A-Za-z])|\\color\s*\{\w+\}"), ""),
    (r"\lg", re.compile(r"\\lg(?![A-Za-z])"), r"\\log_{10}"),
    (r"\vec|\hat|\bar|\overline", re.compile(r"\\(vec|hat|bar|overline)\s+([A-Za-z])(?![A-Za-z])"), r"\\\1{\2}"),
    (
        r"\text|\mathrm|\operatorname",
        re.compile(r"\\(?:operatorname\*?|mathrm|text|textrm)\s*\{\s*((?:arc)?(?:sin|cos|tan|cot)|sec|csc|ln|log|exp|max|min|gcd|lcm)\s*\}"),
        r"\\\1 ",
    ),
    (r"\text", re.compile(r"\\text\s*\{\s*([,;])\s*\}"), r"\1 "),
    (r"quad", re.compile(r"(=[^=,;]+?)\s*(?:\\q?quad)+\s*(?=[A-Za-z]\w*\s*=)"), r"\1, "),
    (r"sqrt|frac", re.compile(r"(?<![\\A-Za-z])(sqrt|frac)(?=\s*\{)"), r"\\\1"),
    (r"\sqrt", re.compile(r"\\sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (r"\deg|\textdegree", re.compile(r"\\(?:textdegree|degree)(?![A-Za-z])|(?<=\d)\s*\\deg(?![A-Za-z])"), r"^\\circ"),
    (r"\mathbb", re.compile(r"\\mathbb\s*([A-Z])(?![A-Za-z])"), r"\\mathbb{\1}"),
    (r"\pounds", re.compile(r"\\pounds(?![A-Za-z])\s*"), "£"),
    (r"\euro|\EUR", re.compile(r"\\(?:euro|EUR)(?![A-Za-z])\s*"), "€"),
    (r"\yen", re.compile(r"\\yen(?![A-Za-z])\s*"), "¥"),
    (r"nicefrac|sfrac|xfrac", re.compile(r"\\(?:nice|s|x)frac(?![A-Za-z])"), r"\\frac"),
    (r"\hat|\vec|\boldsymbol|\bm",
     re.compile(r"\\(?:hat|vec|boldsymbol|bm)\s*\{\s*(?:\\([ij])math|([ijk]))\s*\}"), r"\\text{\1\2}"),
    (r"\circ|\text|\mathrm",
     re.compile(r"\^\{\s*\\circ\s*\}|(?<=\d)\s*\^\s*\{?\s*\\(?:text|mathrm)\s*\{\s*o\s*\}\s*\}?"), r"^\\circ"),
    (r"\text|\mathrm", re.compile(r"\\(?:mathrm|text)\s*\{\s*([ei])\s*\}(?=\s*[\^\d+*/)}-])"), r"\1"),
    (r"\text|\mathrm", re.compile(r"(?<=[\d+*/-])\s*\\(?:mathrm|text)\s*\{\s*([ei])\s*\}"), r"\1"),
    (r"\checkmark|square|\qed", re.compile(r"\\(?:checkmark|blacksquare|square|qedsymbol|qed)(?![A-Za-z])"), ""),
    (r"\math|\textn|\textr|\textb|\textt|\texts|\texti|box|\operatorname",
     re.compile(r"\\(?:text(?:normal|rm|bf|it|tt|sf)|math(?:rm|bf|it|tt|sf)|mbox|operatorname\*?|hbox)(?=\s*\{)"), r"\\text"),
    (r"\backslash", re.compile(r"\\backslash(?![A-Za-z])"), r"\\setminus"),
    (r"\log", re.compile(r"\\log\s*_\s*(?:\{\s*e\s*\}|e)(?![A-Za-z])"), r"\\ln"),
    (r",", re.compile(r"\{\s*,\s*\}"), ","),
    (r"\!", re.compile(r"(?<!\\)\\!\s*"), ""),
    (r"\,|\;|\:|\ |quad|\hspace|\hfill|\nobreakspace|~",
     re.compile(r"(?<!\\)\\(?:[,;: ]|q?quad(?![A-Za-z])|hspace\{[^{}]*\}|hfill(?![A-Za-z])|nobreakspace)|(?<!\\)~"), " "),
    (r"\frac", re.compile(r"\\frac\s*(\\(?:pi|alpha|beta|theta)(?![A-Za-z]))"), r"\\frac{\1}"),
    (r"\frac", re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)"), r"\\frac{\1}{\2}"),
    (r"\frac", re.compile(r"\\frac(\d|\s+[A-Za-z])\s*([A-Za-z\d])(?![A-Za-z\d])"), r"\\frac{\1}{\2}"),
    (r"\frac", re.compile(r"\\frac(?:\s*(\d)|\s+([A-Za-z]))\s*\{"), r"\\frac{\1\2}{"),
    (r"\frac", re.compile(r"\^\s*(\\frac\s*\{[^{}]*\}\s*\{[^{}]*\})"), r"^{\1}"),
    (r"\frac",
     re.compile(r"(\\frac\s*\{(?:[^{}]|\{[^{}]*\})*\})\s*([A-Za-z\d]|\\(?:pi|alpha|beta|theta)(?![A-Za-z]))"), r"\1{\2}"),
    (r"\choose", re.compile(r"^\{?\s*(\w+)\s*\\choose\s*(\w+)\s*\}?$"), r"\\binom{\1}{\2}"),
    (r"C", re.compile(r"(?:\{\s*\})?[\^_]\{?(\w+)\}?\s*C\s*_\s*\{?(\w+)\}?"), r"\\binom{\1}{\2}"),
    (r"C", re.compile(r"(?<![\w\\}])C_\{?(\w+)\}?\s*\^\{?(\w+)\}?(?!\()"), r"\\binom{\1}{\2}"),
    (r"\sqrt", re.compile(r"\\sqrt(?:\s*(\d)(?!\d)|\s+([A-Za-z])(?![A-Za-z]))"), r"\\sqrt{\1\2}"),
    (r"\sqrt", re.compile(r"\\sqrt\s*(\[[^\[\]{}]{1,9}\])\s*(\d)(?!\d)"), r"\\sqrt\1{\2}"),
    (r"\\", re.compile(r"\\\\\s*\[[-\d. ]+(?:pt|em|ex|mm|cm)\]"), r"\\\\"),
    (
        r"mod",
        re.compile(r"\(?\s*(?:\\[pb]?mod(?![A-Za-z])|\\text\s*\{\s*mod\s*\}|(?<=\()mod(?=\s))\s*(?:\{\s*(\w+)\s*\}|(\w+))\s*\)?"),
        r" \\pmod{\1\2}",
    ),
    (r"^{", re.compile(r"\^\{\s*(\w)\s*\}(?!\d)"), r"^\1"),
    (r"_{", re.compile(r"_\{\s*(\w)\s*\}(?!\d)"), r"_\1"),
    (r"<", re.compile(r"</?(?:sup|sub|b|i|em|strong)>"), ""),
    (r"\text", re.compile(r"\\text\s*\{\s*\\?\$\s*\}"), r"\\$"),
    (r"\text", re.compile(r"\\text\s*\{\s*\\?%\s*\}"), r"\\%"),
    (r"_\text", re.compile(r"_\\text\s*\{(\w+)\}"), r"_{\\text{\1}}"),
    (r"infinity", re.compile(r"\\text\s*\{\s*infinity\s*\}"), r"\\infty"),
    (r"\overline", re.compile(r"^\\overline\s*\{\s*([A-Z]{2})\s*\}$"), r"\1"),
    (r"{", re.compile(r"^\{\s*(?=[A-Za-z]\s*(?:\||\\mid|:)[^{}]*\}$)"), r"\\{"),
    (r"\{", re.compile(r"^(\\\{[^{}\\]*(?:\\(?!\})[^{}\\]*)*)(?<!\\)\}$"), r"\1\\}"),
    (
        r"sin|cos|tan|cot|sec|csc|\ln|\exp",
        re.compile(r"(\\(?:arc)?(?:sin|cos|tan|cot|sec|csc|ln|exp)(?:\^\{?-?\w\}?)?)\s*\{([^{}]*)\}"),
        r"\1(\2)",
    ),
]  # fmt: skip
_RULES = [(tuple(parts.split("|")), pattern, replacement) for parts, pattern, replacement in _SYNONYMS]
_HTML_POWER = re.compile(r"<sup>\s*([^<>]{1,20}?)\s*</sup>")
_HTML_INDEX = re.compile(r"<sub>\s*([^<>]{1,20}?)\s*</sub>")
_ESCAPED = re.compile(r"\\\\(?=[A-Za-z])")
_ANSWER_LEAD = re.compile(
    r"^\\text\s*\{[^{}]*\b(?:answer|result|value|solution)s?\s(?:[^{}]*\s)?(?:is|are|equals)\s*:?\s*\}\s*"
)
_MANGLED = re.compile(
    "[\t\f\b\r\v](?=(?:ext\\{\\s*[A-Za-z]+|imes|heta|an|au|frac|riangle|rac|orall|oxed|eta|egin|ar|inom|ight|ho|ec"
    "|arphi)(?![a-z]))"  # keep a \\text only if it contains words
)
_CONTROL = re.compile("[\t\f\b\r\v]")
_BASE_WORD = re.compile(r"(?<=[\dA-F)])\s*(?:\\text\s*\{)?\s*\(?\s*(?:in )?base[ -]?(\d{1,2}|[a-z]+)\s*\)?\s*\}?$")
_ROOT = re.compile(r"(?:√|根号|根號)\s*(\d+(?:\.\d+)?|[A-Za-z])")
_WHOLE_TEXT = re.compile(r"\\text\s*\{(.*)\}", re.DOTALL)
_PREFIXED = re.compile(r"^\\text\s*\{\s*(0[xXbBoO][\dA-Fa-f]+)\s*\}$")
_MIXED = re.compile(r"(?<=\d)\s*\\text\s*\{\s*and\s*\}\s*(?=\\frac)")
_CUT_OFF = re.compile(r"(?<=\d)\s*(?:\.\.\.|…)(?=\s*\$*\s*$)")
_DOTTED = re.compile(r"\s*-?[1-9]\d{0,2}(?:\.\d{3}){2,}(?:,\d+)?\s*")
_CHOOSE = re.compile(r"\s*C\s*\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)\s*")
_SPLIT_DECIMAL = re.compile(r"(-?\d+\.) (\d+\.?)")
_STATEMENT_LEAD = re.compile(
    r"(?:\\text\s*\{\s*)?(?:[A-Za-z]+[ ,']+){2,14}(?:is|are|equals)\s*:?\s*\}?\s*(?=[-\d\\(\[$])"
)
_PROGRAM = re.compile(r"\s*(-?\d+(?:\.\d+)?)[eE]([-+]?\d{1,3})\s*")
_SENTENCE = re.compile(r"(?:\\text\s*\{\s*)?[A-Za-z]+[ ,][^\d=<>]*\d")
_PARTS = re.compile(
    r"(?:(?:\\text\s*\{\s*)?[Pp]art )?(?:\\text\s*\{\s*)?[(（]?\s*(?:\\text\s*\{\s*)?[a1iIⅠ]\s*\}?\s*[)）]"
)
_HIGH, _LOW = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "₀₁₂₃₄₅₆₇₈₉"
_RAISED = re.compile(f"[{_HIGH}]{{2,}}|(?<=[\\w)])[{_HIGH}]|[{_LOW}]+")
_PLAIN = str.maketrans(_HIGH + _LOW, "0123456789-+0123456789")
_COLOURED = re.compile(r"\\(?:underline|uline|textcolor\s*\{\w+\})\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_LETTER = {"\t": "t", "\f": "f", "\b": "b", "\r": "r", "\v": "v"}
_DOLLAR = re.compile(r"(?<!\\)\$")
_LOOSE = re.compile(r" (?!(?<=\d )\d|(?<=[A-Za-z] )[A-Za-z]|(?<=\d )\\frac)")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
LIMIT = 20_000
_SHORT = 500  # characters; shorter texts are cached, because answers recur


def unescaped(gold: str) -> str:
    """The gold without the backslashes that JSON and Python strings doubled."""
    if "\\\\" in gold and "\\begin" not in gold:
        gold = _ESCAPED.sub(r"\\", gold)
    return gold


def tidy(answer: str) -> str:
    """Normalise an answer, with single spaces: the form for parsing and for math-verify."""
    text = answer
    if answer.isascii() and answer.isdigit():
        return answer
    if not answer.isascii() or "\x00" in answer:
        text = _RAISED.sub(_lowered, _ROOT.sub(r"\\sqrt{\1}", answer)).translate(_UNICODE)
    if _CONTROL.search(text):
        text = _MANGLED.sub(lambda match: "\\" + _LETTER[match.group()], text)
    if "<" in text:
        text = _HTML_INDEX.sub(r"_{\1}", _HTML_POWER.sub(r"^{\1}", text))
    text = cut_off(text)
    if "C" in text and (chosen := _CHOOSE.fullmatch(text)):
        text = rf"\binom{{{chosen.group(1)}}}{{{chosen.group(2)}}}"
    if program := _PROGRAM.fullmatch(text):
        text = rf"{program.group(1)} \times 10^{{{int(program.group(2))}}}"
    if "\\" in text or "{" in text or "^" in text or "_" in text or "~" in text or "(mod" in text:
        for parts, pattern, replacement in _RULES:
            for part in parts:
                if part in text:
                    text = pattern.sub(replacement, text)
                    break
        if "\\text" in text:
            if "and" in text or "or" in text:
                text = _TEXT.sub(_joining_word, text)
            if text.startswith("\\text"):
                text = _opened(_ANSWER_LEAD.sub("", text))
                text = _PREFIXED.sub(r"\1", text)
            text = _MIXED.sub(" ", text)
        if text.startswith("\\approx"):
            text = text.removeprefix("\\approx")
    if "$" in text:
        text = _DOLLAR.sub(" ", text)
    if "." in text and _DOTTED.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    if "base" in text:
        text = _BASE_WORD.sub(r"_{\1}", text)
    text = " ".join(text.split())
    if ". " in text and _SPLIT_DECIMAL.fullmatch(text):
        text = text.replace(" ", "")
    lead = _STATEMENT_LEAD.match(text) if " " in text else None
    if lead and not changed_before(lead.group()):
        text = text[lead.end() :]
    text = _unwrap(text)
    if " " in text and _SENTENCE.match(text) and (value := statement_value(" ".join(_TEXT.sub(r" \1 ", text).split()))):
        return value
    return spelled_in_parts(text) if ")" in text and _PARTS.match(text) else text


def _joining_word(match: re.Match[str]) -> str:
    r"""Splits a final "and" off a `\text`, because it joins members of a list: `\text{ cats} \text{ and }`."""
    head, _, word = match.group(1).rstrip().rpartition(" ")
    head = head.rstrip(" ,")
    return rf"\text{{{head}}} \text{{ {word} }}" if head and word in ("and", "or") else match.group()


def _opened(text: str) -> str:
    r"""Removes a `\text` around the whole answer that contains no words, only numbers and the "and" between them."""
    whole = _WHOLE_TEXT.fullmatch(text.strip())
    if whole is None or re.search(r"(?<!\\)[A-Za-z]|\\text", re.sub(r"\b(?:and|or)\b|\\[a-z]+", "", whole.group(1))):
        return text
    depth = 0
    for char in whole.group(1):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth < 0:
            return text
    return whole.group(1)


def _unwrap(text: str) -> str:
    """Remove math delimiters around the whole text, and a final full stop."""
    while True:
        before = text
        text = text.strip(" ").rstrip(".;,").strip()
        if text.endswith("\\\\"):
            text = text[:-2]
        if text.startswith("\\"):
            if coloured := _COLOURED.fullmatch(text):
                text = coloured.group(1)
            for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
                if text.startswith(opening) and text.endswith(closing) and len(text) >= 4:
                    text = text[2:-2]
        if text == before:
            return text


def _lowered(match: re.Match[str]) -> str:
    """Converts Unicode superscripts and subscripts: 2⁻¹ is 2^{-1}, x₁ is x_{1}."""
    mark = "^" if match.group()[0] in _HIGH else "_"
    return f"{mark}{{{match.group().translate(_PLAIN)}}}"


def cut_off(text: str) -> str:
    """ "0.1666..." goes on; its dots are no full stop."""
    return _CUT_OFF.sub(r"\\ldots", text) if "." in text or "…" in text else text


def squeeze(tidied: str) -> str:
    """The key of the exact match: without spaces, except between two numbers or two words, and without `\\text`."""
    return _remembered(tidied) if len(tidied) <= _SHORT else _squeezed(tidied)


def _squeezed(text: str) -> str:
    if "\\" in text or "$" in text:
        text = _TEXT.sub(r" \1 ", text) if "\\text" in text else text
        text = text.replace("\\$", "").replace("$", "").replace("\\%", "%")
        text = text.replace("\\cdot", "*").replace("\\times", "*")
    text = " ".join(text.split())
    if " " in text:
        text = _LOOSE.sub("", text)
    return text.rstrip(".")


_remembered = lru_cache(maxsize=8192)(_squeezed)


def same_text(gold: str, answer: str, case: bool = False) -> bool:
    """Whether two tidied answers are the same string. Answers of words only are compared without their case."""
    left, right = squeeze(gold), squeeze(answer)
    if left == right:
        return bool(left)
    if case:
        return False
    if "\\text" in gold and _lower_text(gold) == _lower_text(answer):
        return True
    return _wordy(left) and _wordy(right) and _comparable_words(left) == _comparable_words(right)


def _lower_text(tidied: str) -> str:
    r"""`squeeze`, with the words in `\text` in lower case: "\text{Increasing on }(0,1)"."""
    return squeeze(_TEXT.sub(lambda match: match.group().lower() if len(match.group(1)) > 2 else match.group(), tidied))


_WORDY = re.compile(r"[A-Za-z][A-Za-z '\-]*[A-Za-z]|[A-Za-z]{3}[A-Za-z ,'\-]*\d{1,4}(?:st|nd|rd|th)?(?:,? ?\d{4})?")


def _wordy(text: str) -> bool:
    """Whether the text has only words of at least two letters and whole numbers between them."""
    return bool(_WORDY.fullmatch(text))


def _comparable_words(text: str) -> str:
    """The text in lower case, without a leading article or the ending of an ordinal: "March 5th" is "march 5"."""
    return re.sub(
        r"(?<=\d)(?:st|nd|rd|th)\b",
        "",
        re.sub(r"^(?:it is |it's |they are |there (?:is|are) )?(?:an? |the )?", "", text.casefold()),
    )
