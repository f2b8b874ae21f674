r"""Named subsets of the real numbers: \mathbb{R}^+, \mathbb{R}_{\ge 0}, "nonzero real numbers"."""

from __future__ import annotations

import re

_REALS = re.compile(r"\\mathbb\s*\{?\s*R\s*\}?\s*(?P<marks>[\^_].{1,20})")
_SAID = re.compile(
    r"(?:the |(?:set of )?all )?(?P<which>positive|negative|non-?negative|non-?positive|non-?zero) real(?:s| numbers?)?"
)
_TEXT = re.compile(r"\\text\s*\{\s*([^{}]*?)\s*\}")
_MARKS = {
    **dict.fromkeys(("^+", "_>0", "_+^*", "^*_+", "^+_*"), "positive"),
    **dict.fromkeys(("^-", "_<0", "_-^*", "^*_-"), "negative"),
    **dict.fromkeys((r"_\ge0", "_>=0"), "nonnegative"),
    **dict.fromkeys((r"_\le0", "_<=0"), "nonpositive"),
    **dict.fromkeys(("^*", r"^\times", r"_\ne0"), "nonzero"),
}
_ENDS = {
    "positive": ("0", "\\infty", "()"),
    "negative": ("-\\infty", "0", "()"),
    "nonnegative": ("0", "\\infty", "[)"),
    "nonpositive": ("-\\infty", "0", "(]"),
    "nonzero": ("0", "", "!="),
}


def named_reals(text: str) -> tuple[str, str, str] | None:
    r"""(low, high, brackets) of such a set; brackets "!=" means all values except low.

    \mathbb{R}_+ is not parsed, because authors differ on whether it contains 0.
    """
    marked = _REALS.fullmatch(text)
    if marked:
        which = _MARKS.get(re.sub(r"[\s{}]", "", marked.group("marks")))
    else:
        said = _SAID.fullmatch(_TEXT.sub(r"\1", text).lower()) if len(text) < 60 else None
        which = said.group("which").replace("-", "") if said else None
    return _ENDS[which] if which else None
