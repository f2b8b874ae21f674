"""A field of TRL that would do nothing is an error that says where to state it."""

from __future__ import annotations

import dataclasses

import pytest
from trl import GRPOConfig

from tersely.checks import SpecError
from tersely.rl.config import split_recipe
from tersely.rl.trl_fields import NEVER_READ, OF_TRLS_LOSSES

RECIPE = {"model_name_or_path": "testbed", "prompts_per_step": 4, "group_size": 4, "micro_batch": 4}
FIELDS = {field.name: field.default for field in dataclasses.fields(GRPOConfig)}


@pytest.mark.parametrize("key", [*NEVER_READ, *OF_TRLS_LOSSES])
def test_a_field_that_nothing_reads_is_refused(key):
    with pytest.raises(SpecError, match=f"{key} is TRL's, and nothing here reads it; state "):
        split_recipe({**RECIPE, key: FIELDS[key]})


def test_trls_own_losses_keep_the_fields_that_they_read():
    for key in OF_TRLS_LOSSES:
        _, trl_values = split_recipe({**RECIPE, "loss_type": "vespo", key: FIELDS[key]})
        assert key in trl_values
    for key in NEVER_READ:
        with pytest.raises(SpecError, match=key):
            split_recipe({**RECIPE, "loss_type": "vespo", key: FIELDS[key]})
