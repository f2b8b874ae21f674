from __future__ import annotations

import copy
import sys
import types
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from tersely.algorithms.losses.kl_penalty import KLPenalty
from tersely.algorithms.objective import Objective
from tersely.core.build import BASES, SLOTS, build, name_of, registry
from tersely.core.errors import ConfigError
from tersely.core.protocols import Loss, Reward, Sampling, complete, hook, loss_chain, replaces
from tersely.core.verifier import AnswerVerifier


@dataclass
class Bare:
    """Computes nothing of use; one field."""

    strength: float = 0.5

    def __call__(self, *inputs):
        return inputs[0]


@dataclass
class BareController:
    statistic = "entropy"

    value: float = 0.0

    def update(self, entropy):
        self.value = entropy
        return self.value


@pytest.fixture
def outside(monkeypatch):
    """Puts classes in a module outside the package, and returns the path of each."""
    module: Any = types.ModuleType("lab")
    monkeypatch.setitem(sys.modules, "lab", module)

    def put(cls):
        setattr(module, cls.__name__, cls)
        return f"lab:{cls.__name__}"

    return put


def hooks(base):
    return [name for kind in base.__mro__ for name, value in vars(kind).items() if isinstance(value, hook)]


@pytest.mark.parametrize("slot", SLOTS)
def test_every_shipped_component_inherits_from_the_class_of_its_slot(slot):
    assert all(issubclass(cls, BASES[slot]) for cls in registry(slot).values())


def test_no_two_shipped_components_share_a_class_name():
    names = [cls.__name__ for slot in SLOTS for cls in registry(slot).values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("slot", SLOTS)
def test_a_class_that_inherits_nothing_has_every_hook(slot, outside):
    cls = BareController if slot == "controller" else Bare
    made, again = build(slot, outside(cls)), build(slot, outside(cls))
    assert isinstance(made, cls) and isinstance(made, BASES[slot]) and made == again
    assert type(made).__name__ == cls.__name__ == name_of(slot, made) and repr(made) == repr(cls())
    assert copy.deepcopy(made) == made
    for name in hooks(BASES[slot]):
        if not replaces(made, name):
            assert getattr(made, name) == getattr(BASES[slot], name)
    assert not isinstance(cls(), BASES[slot]), "the class itself stays as it was"


def test_what_such_a_class_defines_wins_over_the_defaults(outside):
    class OnTheInstance:
        def __init__(self):
            self.scope, self.includes_outcome = "batch", True

        def __call__(self, rollouts):
            return rollouts.correct

    @dataclass(frozen=True, slots=True)
    class InSlots:
        scope: str = "batch"

        @property
        def includes_outcome(self):
            return True

        def __call__(self, rollouts):
            return rollouts.correct

    for cls in (OnTheInstance, InSlots):
        term = build("reward", outside(cls))
        assert (term.scope, term.includes_outcome, term.needs) == ("batch", True, ())
        assert replaces(term, "scope") and not replaces(term, "needs")


@pytest.mark.parametrize("slot", SLOTS)
def test_a_class_without_what_its_slot_calls_is_an_error(slot, outside):
    with pytest.raises(ConfigError, match=r"lab:Empty: Empty has no (__call__|update)"):
        build(slot, outside(type("Empty", (), {})))


def test_a_wrapper_passes_on_what_a_loss_from_outside_needs(outside):
    class Live:
        needs_live_entropy = True
        needs = ("entropy",)

        def __call__(self, batch):
            return -batch.advantage * batch.logp, {}

    for base in (outside(Live), Live()):
        wrapped = build("loss", {"name": "high_entropy_mask", "base": {"name": "kl_penalty", "base": base}})
        assert wrapped.needs_live_entropy and wrapped.needs_ref_logp and not wrapped.needs_sampler_logp
        assert [type(part).__name__ for part in loss_chain(wrapped)] == ["HighEntropyMask", "KLPenalty", "Live"]
        objective = Objective.from_specs({"loss": {"name": "kl_penalty", "base": base}})
        assert "entropy" in objective.needs


def test_a_function_has_the_hooks_too(rollouts_of):
    term = complete(Reward, lambda rollouts: 2 * rollouts.correct)
    assert term(rollouts_of(correct=[1.0, 0.0])).tolist() == [2.0, 0.0] and not term.includes_outcome
    wrapped = KLPenalty(base=complete(Loss, lambda batch: (batch.logp, {})))
    assert len(list(loss_chain(wrapped))) == 2


@pytest.mark.parametrize(("values", "fixed", "base"), [({"temperature": 0.7}, 0.7, 0.7), ({}, None, 1.0)])
def test_the_temperature_of_a_sampling_from_outside(values, fixed, base):
    sampling = type("Cooled", (), {**values, "__call__": lambda self, logits: logits})()
    found = complete(Sampling, sampling)
    assert (found.fixed_temperature, found.base_temperature) == (fixed, base)
    logp = torch.rand(2, 3)
    assert found.drawn_logp(logp, logp) is logp and found.engine_arguments() == {}


def test_only_what_was_learnt_is_saved():
    assert set(Objective.from_specs({}).state_dict()) == {"kinds", "controllers"}
    learnt = Objective.from_specs({"reward": "laser_d", "controllers": ["entropy_clip"]})
    fresh = Objective.from_specs({"reward": "laser_d", "controllers": ["entropy_clip"]})
    learnt.controllers[0].update(0.1)
    fresh.load_state_dict(learnt.state_dict())
    assert fresh.state_dict() == learnt.state_dict() and fresh.controllers[0].value == learnt.controllers[0].value


@pytest.mark.parametrize("verifier", [object(), types.SimpleNamespace(verify=print)])
def test_an_object_that_takes_no_base_class_is_a_clear_error(verifier):
    with pytest.raises(ConfigError, match=f"{type(verifier).__name__}.*AnswerVerifier"):
        complete(AnswerVerifier, verifier)
