"""A field of TRL that would do nothing is an error that says where to state it."""

from __future__ import annotations

import dataclasses

import pytest
from trl import GRPOConfig

from tersely.configs.recipe import DERIVED, KEYS, Recipe
from tersely.core.errors import ConfigError
from tersely.rl.config import checked
from tersely.rl.trl.unused_fields import LEFT_OUT, NEVER_READ, OF_TRLS_LOSSES

RECIPE = {"model_name_or_path": "testbed", "prompts_per_step": 4, "group_size": 4, "micro_batch": 4}
FIELDS = {field.name: field.default for field in dataclasses.fields(GRPOConfig)}


@pytest.mark.parametrize("key", [*NEVER_READ, *OF_TRLS_LOSSES, *LEFT_OUT])
def test_a_field_that_nothing_reads_is_refused(key):
    with pytest.raises(ConfigError, match=f"{key} .*(Use|Remove it)"):
        checked(Recipe.of({**RECIPE, key: FIELDS[key]}))


def test_trls_own_losses_keep_the_fields_that_they_read():
    for key in OF_TRLS_LOSSES:
        assert key in checked(Recipe.of({**RECIPE, "loss_type": "vespo", key: FIELDS[key]})).trl
    for key in NEVER_READ:
        with pytest.raises(ConfigError, match=key):
            checked(Recipe.of({**RECIPE, "loss_type": "vespo", key: FIELDS[key]}))


def test_every_field_is_read_or_refused():
    """A field that is neither refused nor ours must be read by name in what runs: TRL, transformers' trainer, this package."""
    import inspect
    import re
    from pathlib import Path

    import transformers
    import trl

    import tersely

    trainer = Path(inspect.getfile(transformers)).parent
    files = [*trainer.glob("trainer*.py"), trainer / "integrations/integration_utils.py", trainer / "training_args.py"]
    files += [
        Path(inspect.getfile(trl)).parent / "trainer" / name
        for name in ("grpo_trainer.py", "callbacks.py", "base_trainer.py")
    ]
    files += [
        path
        for folder in ("rl", "engines", "core")
        for path in (Path(tersely.__file__).parent / folder).rglob("*.py")
        if path.name not in ("unused_fields.py", "resume.py")
    ]
    text = "\n".join(path.read_text() for path in files if path.is_file())
    refused = {
        *NEVER_READ,
        *OF_TRLS_LOSSES,
        *LEFT_OUT,
        *DERIVED,
        *KEYS,
    }
    unread = [
        name for name in FIELDS if name not in refused and not re.search(rf"\b(args|self|config)\.{name}\b", text)
    ]
    # read from the arguments by TRL's callback, and by log-probs of the reference
    assert set(unread) <= {"ref_model_mixup_alpha", "ref_model_sync_steps"}
    assert not {*NEVER_READ} & {*LEFT_OUT}
    callback = (Path(inspect.getfile(trl)).parent / "trainer/callbacks.py").read_text()
    assert all(name in callback for name in unread)
