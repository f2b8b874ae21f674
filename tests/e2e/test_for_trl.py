"""Our rewards in TRL's own GRPOTrainer, on one rank and on two with groups that straddle them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from tersely.core.build import build
from tersely.core.memory import PromptMemory
from tersely.core.types import Rollouts

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
SPEC = [{"name": "alp", "beta": 0.3, "normalizer": "max_length"}, {"name": "hapo_history", "weight": 0.2}]

SCRIPT = '''
import json, os, sys
from dataclasses import dataclass
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer
from tersely.launch.clean_exit import end_process
from tersely.rewards import for_trl

folder, spec = sys.argv[1], json.loads(sys.argv[2])
alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>", padding_side="left")
torch.manual_seed(0)
model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32,
    num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, eos_token_id=tokenizer.eos_token_id,
    pad_token_id=tokenizer.pad_token_id))
with torch.no_grad():  # an end of text about every ten tokens
    model.lm_head.weight.mul_(0.1)
    model.lm_head.bias = torch.nn.Parameter(torch.zeros(len(tokenizer)))
    model.lm_head.bias[tokenizer.eos_token_id] = 3.4

@dataclass
class Verdict:
    correct: float
    status: str = "decided"
    answer: str | None = None

class ByText:
    """Undecided for texts of seven tokens, else right or wrong by the text alone."""
    def verify(self, golds, texts):
        return [Verdict(float("nan") if len(t) == 7 else float((len(t) + len(g)) % 2)) for g, t in zip(golds, texts)]

reward = for_trl(spec, tokenizer, max_completion_length=24, verifier=ByText())
log = open(f"{folder}/rank{os.environ.get('RANK', '0')}.jsonl", "w")

def recorded(prompts, completions, completion_ids, answer, **rest):
    got = reward(prompts=prompts, completions=completions, completion_ids=completion_ids, answer=answer, **rest)
    cut = [ids[-1] != tokenizer.eos_token_id for ids in completion_ids]
    verdicts = [v.correct for v in reward.verifier.verify(answer, completions)]
    correct = [0.0 if c and v == 1 else v for c, v in zip(cut, verdicts)]  # only completions that ended count
    row = {"prompt": prompts, "length": [len(ids) for ids in completion_ids], "correct": correct, "cut": cut,
           "not_ended": verdicts.count(1.0) - correct.count(1.0), "got": got, "memory": reward.memory.state_dict()}
    log.write(json.dumps(row) + "\\n"); log.flush()
    return got

rows = Dataset.from_list([{"prompt": f"{i} plus {i}?", "answer": str(2 * i)} for i in range(3)])
rank_rows = int(sys.argv[3])
args = GRPOConfig(output_dir=folder + "/out", per_device_train_batch_size=rank_rows, num_generations=4, max_steps=3,
    max_completion_length=24, learning_rate=1e-4, report_to="none", save_strategy="no", logging_steps=1, use_cpu=True,
    bf16=False, gradient_checkpointing=False, seed=1, scale_rewards="none")
trainer = GRPOTrainer(model=model, reward_funcs=recorded, args=args, train_dataset=rows, processing_class=tokenizer)
trainer.train()
trainer.accelerator.end_training()
end_process(0)  # the wrapped model keeps gloo's threads, which can abort an interpreter on its way out
'''


def run(folder: Path, ranks: int, python: str) -> list[list[dict]]:
    """The recorded calls, [rank][step]."""
    script = folder / "train.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHON_EXEC"] = python
    start = [python]
    if ranks > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)]
    arguments = [str(script), str(folder), json.dumps(SPEC), str(12 // ranks)]
    done = subprocess.run(
        [*start, *arguments], env=environment, capture_output=True, text=True, timeout=240, cwd=folder
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return [
        [json.loads(line) for line in (folder / f"rank{rank}.jsonl").read_text().splitlines()] for rank in range(ranks)
    ]


@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.exhaustive), 2])
def test_values_equal_our_terms_on_whole_groups(tmp_path, ranks, warm_python):
    calls = run(tmp_path, ranks, warm_python)
    assert all(len(steps) == 3 for steps in calls)
    assert sum(step["not_ended"] for steps in calls for step in steps), "no correct answer was truncated"
    reward, memory, undecided, kinds = build("reward", SPEC), PromptMemory(), 0, set()
    for step in range(3):
        parts = [steps[step] for steps in calls]
        if ranks == 2:
            assert len(parts[0]["prompt"]) == 6, "groups of four straddle the two ranks"
        rows = {key: [value for part in parts for value in part[key]] for key in ("prompt", "length", "correct", "cut")}
        got = [value for part in parts for value in part["got"]]
        rollouts = Rollouts(
            group_size=4,
            prompt_id=rows["prompt"],
            correct=torch.tensor(rows["correct"]),
            length=torch.tensor(rows["length"]),
            truncated=torch.tensor(rows["cut"]),
            max_length=24,
            progress=step / 3,
            memory=memory,
        )
        expected = reward(rollouts)
        reward.update(rollouts)
        assert [value is None for value in got] == expected.isnan().tolist()
        decided = [value for value in got if value is not None]
        assert decided == pytest.approx(expected[~expected.isnan()].tolist(), abs=1e-6)
        remembered = sorted(record["shortest"] for record in memory.records.values())
        for part in parts:
            assert sorted(record["shortest"] for record in part["memory"].values()) == remembered
        undecided += sum(value is None for value in got)
        kinds |= set(rows["correct"]) - {float("nan")}
    assert {0.0, 1.0} <= kinds and len(memory.records) == 3
