"""The decoding strategies by name. `speculative_thinking` and `trim_r` need a second model: docs/evaluation.md says why not."""

from __future__ import annotations

from tersely.eval.strategies.answer_convergence import AnswerConvergence
from tersely.eval.strategies.arm_consensus import ArmConsensus
from tersely.eval.strategies.budget_prompt import BudgetPrompt
from tersely.eval.strategies.chain_of_draft import ChainOfDraft
from tersely.eval.strategies.cntp import CautiousNextToken
from tersely.eval.strategies.concise import Concise
from tersely.eval.strategies.diff_adapt import DiffAdapt
from tersely.eval.strategies.forced_answer import ForcedAnswer
from tersely.eval.strategies.moi import MixtureOfInputs
from tersely.eval.strategies.no_thinking import NoThinking
from tersely.eval.strategies.plan import PlanPrompting
from tersely.eval.strategies.reflection_ban import ReflectionBan
from tersely.eval.strategies.seal import Seal
from tersely.eval.strategies.soft_thinking import SoftThinking
from tersely.eval.strategies.think_less import ThinkLess
from tersely.eval.strategies.thought_terminator import ThoughtTerminator
from tersely.eval.strategies.vanilla import Vanilla
from tersely.eval.strategies.wait_forcing import WaitForcing

STRATEGIES: dict[str, type] = {
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
    "plan": PlanPrompting,
    "arm_consensus": ArmConsensus,
}
