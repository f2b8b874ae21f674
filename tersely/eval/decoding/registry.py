"""Registry of the decoding strategies. docs/evaluation.md explains why `speculative_thinking` and `trim_r` are not in it."""

from __future__ import annotations

from tersely.eval.decoding.answer_convergence import AnswerConvergence
from tersely.eval.decoding.arm_consensus import ArmConsensus
from tersely.eval.decoding.base import Strategy
from tersely.eval.decoding.budget_prompt import BudgetPrompt
from tersely.eval.decoding.chain_of_draft import ChainOfDraft
from tersely.eval.decoding.cntp import CautiousNextToken
from tersely.eval.decoding.concise import Concise
from tersely.eval.decoding.diff_adapt import DiffAdapt
from tersely.eval.decoding.forced_answer import ForcedAnswer
from tersely.eval.decoding.moi import MixtureOfInputs
from tersely.eval.decoding.no_thinking import NoThinking
from tersely.eval.decoding.prompting import MethodPrompting
from tersely.eval.decoding.reflection_ban import ReflectionBan
from tersely.eval.decoding.seal import Seal
from tersely.eval.decoding.soft_thinking import SoftThinking
from tersely.eval.decoding.think_less import ThinkLess
from tersely.eval.decoding.thought_terminator import ThoughtTerminator
from tersely.eval.decoding.vanilla import Vanilla
from tersely.eval.decoding.wait_forcing import WaitForcing

STRATEGIES: dict[str, type[Strategy]] = {
    "vanilla": Vanilla,
    "forced_answer": ForcedAnswer,
    "no_thinking": NoThinking,
    "concise": Concise,
    "chain_of_draft": ChainOfDraft,
    "reflection_ban": ReflectionBan,
    "answer_convergence": AnswerConvergence,
    "budget_prompt": BudgetPrompt,
    "thought_terminator": ThoughtTerminator,
    "think_less": ThinkLess,
    "wait_forcing": WaitForcing,
    "diff_adapt": DiffAdapt,
    "seal": Seal,
    "cntp": CautiousNextToken,
    "soft_thinking": SoftThinking,
    "moi": MixtureOfInputs,
    "prompting": MethodPrompting,
    "arm_consensus": ArmConsensus,
}
