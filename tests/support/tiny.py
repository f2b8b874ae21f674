"""A tiny random model with a byte tokenizer, a verifier that judges by the text's hash, and a trainer over them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from tersely.configs.recipe import Recipe

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
)


def save_tiny_model(path: Path, *, tied: bool = False, seed: int = 0) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>", padding_side="left"
    )
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(path)
    return path


@dataclass(frozen=True)
class HashVerdict:
    status: str
    correct: float
    answer: str | None = None


class HashVerifier:
    """Right or wrong by the text alone, so that a verdict does not depend on when or where it is reached."""

    def start(self) -> None:
        """Nothing to start: it has no workers."""

    def verify(self, golds, texts):
        bits = [hashlib.sha256(text.encode("utf-8", "replace")).digest()[0] & 1 for text in texts]
        return [HashVerdict("correct" if bit else "incorrect", float(bit)) for bit in bits]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def make_trainer(tiny_model, tmp_path):
    """`make_trainer(**recipe) -> TerselyTrainer` over 32 made-up prompts, with the verdicts of `HashVerifier`."""
    from datasets import Dataset

    from tersely.engines.adapter import new_adapter
    from tersely.engines.models import load_model
    from tersely.rl.config import checked, grpo_config, objective_of
    from tersely.rl.trainer import TerselyTrainer

    def make(verifier=None, engine=None, metrics=None, **recipe) -> TerselyTrainer:
        values = {
            "model_name_or_path": str(tiny_model),
            "prompts_per_step": 4,
            "group_size": 4,
            "micro_batch": 4,
            "max_steps": 2,
            "max_completion_length": 12,
            "learning_rate": 1e-3,
            "gradient_checkpointing": False,
            "save_strategy": "no",
            "disable_tqdm": True,
            "run_dir": str(tmp_path / "run"),
            **recipe,
        }
        run = checked(Recipe.of(values))
        objective = objective_of(run)
        args = grpo_config(run, objective, 1)
        model, tokenizer = load_model(run.model_name_or_path, args, run.peft)
        rows = [
            {
                "prompt": [{"role": "user", "content": f"{i}+{i}="}],
                "problem": f"{i}+{i}=",
                "answer": str(2 * i),
                "prompt_id": f"p{i}",
                "level": None,
            }
            for i in range(32)
        ]
        return TerselyTrainer(
            run=run,
            objective=objective,
            verifier=verifier or HashVerifier(),
            engine=engine,
            metrics=metrics,
            peft_config=new_adapter(run.peft, model),
            model=model,
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
        )

    return make


def watched(trainer) -> SimpleNamespace:
    """What the latest step of this trainer made: `sampled`, the log-prob pass before the update (`loss`), `scores`, `batch`."""
    seen = SimpleNamespace()

    def keep(name, method):
        whole = getattr(trainer, method)

        def kept(*args):
            setattr(seen, name, whole(*args))
            return getattr(seen, name)

        setattr(trainer, method, kept)

    for name, method in {"sampled": "sample", "loss": "policy_pass", "scores": "score", "batch": "make_batch"}.items():
        keep(name, method)
    return seen
