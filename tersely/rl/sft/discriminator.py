"""Separates the reasoning tokens of a cold start's examples from boilerplate (SHAD, arXiv 2412.14780).

A copy of the model is tuned on a few examples with shuffled answers: what it can learn there does not depend on the problem.
A token whose loss is higher under the copy than under the model is reasoning. Both losses are measured inside the copy's
training, before its first and after its last step, so that every way to distribute a model works.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import PrinterCallback, ProgressCallback, TrainerCallback

from tersely.algorithms.sft_losses.shad import SHAD, boilerplate_share, derangement, reasoning_tokens, smooth_words
from tersely.configs.cold_start import ColdStart
from tersely.configs.recipe import Stage
from tersely.core.heartbeat import now
from tersely.core.logging import get_logger
from tersely.rl.checkpoints.resume import from_main
from tersely.rl.sft.trainer import ColdStartTrainer, dataset_of, make_trainer, sft_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = get_logger(__name__)

FILE = "reasoning.npz"


def reasoning_of(stage: Stage, spec: ColdStart, examples: list[dict[str, Any]], shad: SHAD) -> list[list[bool]]:
    """Per example one bool per id: True for reasoning, and on the prompt. Stored in the stage's folder and read again."""
    from accelerate import PartialState

    path = stage.folder / FILE
    if not from_main(path.is_file):
        labels = _label(stage, spec, examples, shad)
        if PartialState().is_main_process:
            _store(path, labels)
        PartialState().wait_for_everyone()
    stored = np.load(path)
    return [part.tolist() for part in np.split(stored["labels"], np.cumsum(stored["lengths"])[:-1])]


def _store(path: Path, labels: list[Tensor]) -> None:
    unfinished = path.with_name(f"unfinished-{path.name}")
    lengths = np.array([len(one) for one in labels])
    np.savez_compressed(unfinished, labels=torch.cat(labels).numpy(), lengths=lengths)
    unfinished.replace(path)


def _label(stage: Stage, spec: ColdStart, examples: list[dict[str, Any]], shad: SHAD) -> list[Tensor]:
    from tersely.engines.models import load_model

    run = stage.recipe
    folder = stage.folder / "discriminator"
    args = replace(sft_config(stage, spec, run.trl), output_dir=str(folder), max_steps=shad.steps, save_strategy="no")
    model, tokenizer = load_model(run.model_name_or_path, args, run.peft)
    template = run.trl.get("chat_template_kwargs")
    rows = dataset_of(tokenizer, examples, template)
    trainer = make_trainer(
        model, args, tokenizer, dataset_of(tokenizer, _shuffled(examples, spec, shad, args), template)
    )
    measure = Measure(trainer, list(rows))
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(measure)
    logger.info(f"shad: {len(trainer.train_dataset)} examples with shuffled answers, {shad.steps} steps on a copy")
    trainer.train()
    original, shuffled = measure.losses
    labels, masks = [], []
    for row, before, after in zip(rows, original, shuffled, strict=True):
        found = reasoning_tokens(after, before)
        if shad.smooth == "word":
            found = smooth_words(found, torch.tensor(word_numbers(tokenizer, row["input_ids"])))
        trained = torch.tensor(row["weights"]) > 0
        labels.append(found | ~trained)
        masks.append(trained)
    share = boilerplate_share(torch.cat(labels), torch.cat(masks))
    logger.info(f"shad: {share:.1%} of the trained tokens are boilerplate")
    return labels


def _shuffled(examples: list[dict[str, Any]], spec: ColdStart, shad: SHAD, args: Any) -> list[dict[str, Any]]:
    """A few examples, each with the answer of another one."""
    batch = spec.batch_size * args.gradient_accumulation_steps * args.world_size
    count = min(len(examples), max(2, batch, round(shad.share * len(examples))))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(args.seed))[:count].tolist()
    partner = derangement(count, args.seed)
    return [{**examples[i], "spans": examples[order[partner[n]]]["spans"]} for n, i in enumerate(order)]


def word_numbers(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """The number of the word of each token; a blank at the start or the end of a token separates words."""
    texts = [tokenizer.decode([token]) for token in ids]
    numbers, current = [], 0
    for n, text in enumerate(texts):
        if n and (text[:1].isspace() or texts[n - 1][-1:].isspace()):
            current += 1
        numbers.append(current)
    return numbers


@dataclass
class Measure(TrainerCallback):
    """Measures the loss of every token before the first and after the last step."""

    trainer: ColdStartTrainer
    rows: list[dict[str, Any]]
    losses: list[list[Tensor]] = field(default_factory=list)

    def on_train_begin(self, args, state, control, **kwargs):
        self.losses.append(self._all())

    def on_train_end(self, args, state, control, **kwargs):
        self.losses.append(self._all())

    def _all(self) -> list[Tensor]:
        """Per row the loss (nats) of each id; 0 on the prompt. All ranks make the same number of forward passes."""
        accelerator = self.trainer.accelerator
        size, ranks = self.trainer.args.per_device_train_batch_size, accelerator.num_processes
        found: list[tuple[int, list[float]]] = []
        was_training = self.trainer.model.training
        self.trainer.model.eval()
        for first in range(0, len(self.rows), size * ranks):
            now(f"shad: measuring example {first + 1} of {len(self.rows)}")
            places = [first + accelerator.process_index * size + i for i in range(size)]
            there = [place for place in places if place < len(self.rows)]
            losses = self.trainer.token_losses([self.rows[place] for place in there] or self.rows[:1])
            found += [(place, loss.tolist()) for place, loss in zip(there, losses, strict=False)]
        self.trainer.model.train(was_training)
        return [torch.tensor(loss) for _, loss in sorted(gather_object(found))]
