"""Table of the losses: how each treats a token's own credit at ratio 1, and what it needs."""

from __future__ import annotations

from typing import Any

VARIANTS = ({"name": "clip", "importance": "sequence"}, {"name": "gspo", "form": "token"})
HEADER = ("policy", "credit of one token", "when every ratio is 1", "needs")


def pairs_table() -> str:
    """Markdown, one row a policy, in its default form and in the forms that change the answer."""
    from tersely.algorithms import POLICIES

    specs: list[Any] = [*sorted(POLICIES), *VARIANTS]
    lines = [HEADER, ("---",) * len(HEADER), *sorted(_row(spec) for spec in specs)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def advantages_table() -> str:
    """Markdown: which advantages give every token its own credit, and what each reads."""
    from tersely.algorithms import ADVANTAGES
    from tersely.algorithms.checks import is_token_level
    from tersely.core.build import build

    lines = [("advantage", "credit", "reads"), ("---",) * 3]
    for name in sorted(ADVANTAGES):
        advantage = build("advantage", name)
        credit = "a token" if is_token_level(advantage) else "a row"
        reads = [*getattr(advantage, "needs", ())]
        lines.append((f"`{name}`", credit, ", ".join(reads) or "-"))
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _row(spec: Any) -> tuple[str, ...]:
    from tersely.algorithms.checks import averages_credit, equals_clip_at_ratio_one
    from tersely.core.build import build

    policy = build("policy", spec)
    name = (
        spec
        if isinstance(spec, str)
        else " ".join([spec["name"], *(f"{k}: {v}" for k, v in spec.items() if k != "name")])
    )
    needs = [
        text
        for flag, text in (("needs_ref_logp", "reference model"), ("needs_live_entropy", "entropy with gradient"))
        if getattr(policy, flag, False)
    ]
    if name == "sampler_correction":
        needs.append("an engine's log-probs (vLLM)")
    return (
        f"`{name}`",
        "averaged over the row" if averages_credit(policy) else "kept",
        "plain policy gradient" if equals_clip_at_ratio_one(policy) else "still acts",
        ", ".join(needs) or "-",
    )
