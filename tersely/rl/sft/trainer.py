"""TRL's SFTTrainer with a weight per token, an exact data order on resume, and checkpoints with a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl import SFTConfig

from tersely.algorithms.sft_losses.talr import mean_row_losses
from tersely.configs.cold_start import ColdStart
from tersely.configs.peft import PeftSpec
from tersely.configs.recipe import Stage
from tersely.core.build import build
from tersely.core.logging import get_logger
from tersely.core.sft_loss import SFTLoss
from tersely.engines.activation_checkpointing import by_installed_names
from tersely.rl.checkpoints import manifest
from tersely.rl.checkpoints.resume import Start, changed_ranks, from_main, launch_facts
from tersely.rl.guards.loss import check_loss
from tersely.rl.recording.callbacks import Phases, RunFiles
from tersely.rl.recording.run_files import MetricsFile
from tersely.rl.rollouts.prompt_sampler import PromptStream
from tersely.rl.sft.examples import tokens_and_weights
from tersely.rl.trained_prompting import trained_prompting
from tersely.rl.trl.overrides import ExampleTrainer

if TYPE_CHECKING:
    from datasets import Dataset

logger = get_logger(__name__)

COLUMNS = ("input_ids", "weights", "exempt")


class ColdStartTrainer(ExampleTrainer):
    """`sft_loss(nll, entropy, mask) -> (weights, loss)`, or None for the examples' weights.

    Log-probs and entropies come from TRL's fused head, which never stores the logits of a whole batch.
    """

    _whole_step: tuple[Tensor, Tensor] | None = None
    """(mean losses of the step's rows, sum of its weights), for a loss with `reads_step`."""

    def __init__(self, *, sft_loss: SFTLoss | None = None, **arguments: Any):
        self.sft_loss = sft_loss
        super().__init__(**arguments)

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.sft_loss is not None and self.sft_loss.reads_step:
            self._whole_step = self._look_ahead(self.sft_loss, batches)
        return batches, items

    def _look_ahead(self, sft_loss: SFTLoss, batches: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        """`_whole_step`, over the micro-batches and ranks of an optimizer step, with one more forward pass."""
        parts = []
        with torch.no_grad(), self.compute_loss_context_manager():
            for inputs in map(self.prepared, batches):
                outputs = self._outputs(self.model_wrapped, inputs)
                parts.append((-outputs.log_probs, outputs.label_mask, inputs["exempt"][:, 1:]))
        local_means = [mean for nll, valid, _ in parts for mean in mean_row_losses(nll, valid).tolist()]
        means = torch.tensor(gather_object(local_means), device=self.args.device)
        weight = sum(
            sft_loss(nll, None, valid, exempt=exempt, row_means=means)[0].sum() for nll, valid, exempt in parts
        )
        return means, self.accelerator.reduce(weight, reduction="sum")

    def _outputs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """`log_probs`, `entropy` and `label_mask`, all (B, T - 1)."""
        named = {name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}
        return model(**named, fused_lm_head=True)

    def token_losses(self, rows: list[dict[str, Any]]) -> list[Tensor]:
        """Per row the loss (nats) of each id, 0 where no label is; without a gradient."""
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = self._outputs(self.model_wrapped, self.prepared(self.data_collator(rows)))
        losses = torch.where(outputs.label_mask, -outputs.log_probs, 0.0).float().cpu()
        return [
            torch.cat([torch.zeros(1), loss])[: len(row["input_ids"])] for row, loss in zip(rows, losses, strict=True)
        ]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = self._outputs(model, inputs)
        if self.sft_loss is not None and self.sft_loss.reads_reasoning:
            class_mean = self.sft_loss(-outputs.log_probs, inputs["reasoning"][:, 1:], outputs.label_mask)[1]
            loss = class_mean / self.current_gradient_accumulation_steps
        else:
            weights, exempt = inputs["weights"][:, 1:], inputs["exempt"][:, 1:]
            loss = self._loss(outputs, weights, num_items_in_batch, exempt)
        return (loss, outputs) if return_outputs else loss

    def _loss(self, outputs: Any, weights: Tensor, items: Any, exempt: Tensor) -> Tensor:
        """Weighted sum over this micro-batch, divided by the tokens of the whole step."""
        nll, valid = -outputs.log_probs, outputs.label_mask
        count = valid.sum() if items is None else torch.as_tensor(items)
        if self.sft_loss is not None:
            more: dict[str, Any] = {"exempt": exempt} if self.sft_loss.reads_exempt else {}
            if self._whole_step is not None:
                more["row_means"] = self._whole_step[0]
            weights, _ = self.sft_loss(nll, outputs.entropy.detach(), valid, **more)
            count = torch.as_tensor(self.sft_loss.kept_count(int(count)))
            if self._whole_step is not None and self.sft_loss.normalize:
                count = self._whole_step[1]
        ranks = self.accelerator.num_processes if items is not None and self.args.average_tokens_across_devices else 1
        return torch.where(valid, weights * nll, 0.0).sum() / count.clamp(min=1e-30).to(nll.device) * ranks

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        check_loss(loss, self.state.global_step)
        return loss

    @property
    def examples(self) -> PromptStream:
        batch = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        prompts = batch * self.accelerator.num_processes
        return PromptStream(len(self.train_dataset), prompts, 1, 1, self.args.max_steps, self.args.seed, shuffle=True)

    def save_final(self, folder: Path, state: dict[str, Any]) -> None:
        self.save_model(str(folder))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            self.processing_class.save_pretrained(str(folder))
            manifest.seal(folder, self.state.global_step, state)
        self.accelerator.wait_for_everyone()


class Line(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and logs and "loss" in logs:
            logger.info(f"step {state.global_step}/{state.max_steps}  sft loss {logs['loss']:.4f}")


def sft_trainer(
    stage: Stage,
    spec: ColdStart,
    examples: list[dict],
    run_dir: Path,
    start: Start,
    reasoning: list[list[bool]] | None = None,
) -> tuple[ColdStartTrainer, str | None]:
    """(trainer on the stored examples, checkpoint to resume from). `reasoning`: for a loss with `reads_reasoning`."""
    from tersely.engines.models import load_model

    run = stage.recipe
    args = sft_config(stage, spec, run.trl)
    sft_loss = None if spec.sft_loss is None else build("sft_loss", spec.sft_loss)
    model, tokenizer = load_model(run.model_name_or_path, args, run.peft)
    template = run.trl.get("chat_template_kwargs")
    last, passed_over = from_main(lambda: manifest.latest_whole(stage.folder)) if start.resume else (None, [])
    if last:
        changed_ranks(manifest.component_state(last), launch_facts(args), f"batch_size of stage {stage.name}")
    rows = dataset_of(tokenizer, examples, template)
    if reasoning is not None:
        rows = rows.add_column("reasoning", reasoning)
    trainer = make_trainer(model, args, tokenizer, rows, sft_loss, run.peft)
    trainer.prompting = replace(trained_prompting(run, args), chat_template_kwargs=dict(template or {}))
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(Line())
    trainer.add_callback(Phases())
    if trainer.accelerator.is_main_process:
        for line in (*passed_over, *([f"resuming from {last.name}"] if last else [])):
            logger.info(line)
        step = int(last.name.rpartition("-")[2]) if last else 0
        metrics = MetricsFile(run_dir / "metrics.jsonl", stage.first_step + step, stage.name, stage.first_step)
        if start.changes:
            metrics.write(step, start.event())
        trainer.add_callback(RunFiles(metrics))
    return trainer, str(last) if last else None


def dataset_of(tokenizer: Any, examples: list[dict], template: dict[str, Any] | None) -> Dataset:
    """The tokenised examples, with the columns of COLUMNS."""
    from datasets import Dataset

    rows = [tokens_and_weights(tokenizer, example["prompt"], example["spans"], template) for example in examples]
    return Dataset.from_list([dict(zip(COLUMNS, row, strict=True)) for row in rows])


def make_trainer(
    model: Any,
    args: SFTConfig,
    tokenizer: Any,
    rows: Dataset,
    sft_loss: SFTLoss | None = None,
    peft: PeftSpec | None = None,
) -> ColdStartTrainer:
    """The trainer on tokenised examples, with a new adapter if the recipe has a `peft` section."""
    from tersely.engines.adapter import new_adapter

    return ColdStartTrainer(
        sft_loss=sft_loss,
        model=model,
        args=args,
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=lambda rows: collate(rows, tokenizer.pad_token_id),
        peft_config=new_adapter(peft, model),
    )


CHECKPOINTING: tuple[str, ...] = ("gradient_checkpointing", "activation_checkpointing")


def sft_config(stage: Any, spec: ColdStart, trl_values: Mapping[str, Any]) -> SFTConfig:
    """SFTConfig from the stage's settings and the run's settings about the machine."""
    values: dict[str, Any] = {
        "logging_steps": 1,
        "save_steps": 50,
        "save_total_limit": 3,
        "report_to": "none",
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
        **{key: trl_values[key] for key in ("seed", "save_steps", "max_grad_norm", "bf16") if key in trl_values},
        **spec.settings,
        "max_steps": stage.steps,
        "per_device_train_batch_size": spec.batch_size,
        "output_dir": str(stage.folder),
        "remove_unused_columns": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "max_length": None,
    }
    names = {field.name for field in fields(SFTConfig)}
    local_means: dict[str, Any] = {key: trl_values[key] for key in CHECKPOINTING if key in trl_values}
    stated = by_installed_names(local_means or {"gradient_checkpointing": True}, names)
    return SFTConfig(**{**stated, **by_installed_names(values, names)})


def collate(rows: list[dict], pad: int) -> dict[str, Tensor]:
    """Right-padded ids, mask, labels (-100 where the weight is 0), weights and exempt tokens."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    weights, mask = torch.zeros(len(rows), longest), torch.zeros(len(rows), longest, dtype=torch.long)
    exempt = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        size = len(row["input_ids"])
        ids[i, :size], mask[i, :size] = torch.tensor(row["input_ids"]), 1
        weights[i, :size], exempt[i, :size] = torch.tensor(row["weights"]), torch.tensor(row["exempt"])
    labels = ids.masked_fill(weights == 0, -100)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels, "weights": weights, "exempt": exempt}
    if "reasoning" in rows[0]:
        batch["reasoning"] = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            batch["reasoning"][i, : len(row["reasoning"])] = torch.tensor(row["reasoning"])
    return batch
