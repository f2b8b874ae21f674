"""Creates the evaluator of a model: an engine of the registry, or an OpenAI-compatible server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tersely.core.errors import ConfigError, nearest
from tersely.core.logging import get_logger
from tersely.core.paths import beside, expanded
from tersely.core.verifier import AnswerVerifier
from tersely.data.benchmarks import Benchmark
from tersely.engines.base import Engine, EngineSettings
from tersely.engines.chat import Prompting
from tersely.engines.factory import create_engine
from tersely.engines.model_folder import CONFIG, base_location, model_location
from tersely.engines.registry import ADDRESSED, DEFAULT, capabilities_of, evaluation_engines
from tersely.eval.evaluator import Evaluator
from tersely.eval.trained_prompt import saved_prompting

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = get_logger(__name__)


def make_evaluator(
    model: str,
    engine: str = DEFAULT,
    *,
    batch: int | None = None,
    dtype: str | None = None,
    max_model_len: int | None = None,
    gpu_memory_utilization: float = 0.9,
    tokenizer: str | None = None,
    workers: int | None = None,
    seed: int = 0,
    prompting: Prompting | None = None,
    system_prompt: str | None = None,
) -> Evaluator:
    """Create the evaluator of a model (name or folder). `engine`: transformers, vllm, or the address of a server.

    `max_model_len`: longest sequence in tokens (None: the model's context; vLLM's cache must have room for one).
    `gpu_memory_utilization`: vLLM's share of the GPU memory.

    `prompting`: replaces the one saved with the model. `system_prompt`: replaces the prompting's.

    Raises `ConfigError`, before weights are read, for an unknown engine, vLLM if it is not installed, a damaged model folder,
    an unusable tokenizer or chat template, and a vocabulary larger than the model's.
    """
    kind = engine_kind(engine)
    served = capabilities_of(kind).servers
    if not served:
        require_place(model)
    if (
        tokenizer
        and (tokenizer := expanded(tokenizer, "--tokenizer")).startswith(("/", "."))
        and not Path(tokenizer).is_dir()
    ):
        raise ConfigError(
            f"--tokenizer: no such folder: {tokenizer}; {beside(tokenizer) or 'expected a folder or a hub id'}"
        )
    location = model_location(model)
    if prompting is None:
        prompting = saved_prompting(location, tokenizer)[0]
    system = prompting.system_prompt if system_prompt is None else system_prompt
    tokens = checked_tokenizer(model, tokenizer, prompting.chat_template_kwargs, system, weights=not served)
    verifier = make_verifier(workers)
    verifier.start()  # its imports overlap with loading the model
    length = max_model_len if served else shortest(max_model_len, _context(base_location(model)))
    settings = EngineSettings(
        tokens,
        location,
        dtype=dtype,
        seed=seed,
        max_model_len=length,
        gpu_memory_utilization=gpu_memory_utilization,
        servers=(engine,) if served else (),
    )
    made = create_engine(kind, settings)
    return Evaluator(
        model=model if served else identity(model),
        tokenizer=tokens,
        engine=made,
        verifier=verifier,
        batch=batch or made.batch,
        context=shortest(length, made.context),
        prompting=prompting,
        maker_sampling=_maker_sampling(made, tokenizer or location if served else base_location(model)),
    )


def shortest(*lengths: int | None) -> int | None:
    """Smallest of the known lengths; None if none is known."""
    return min((length for length in lengths if length), default=None)


def checked_tokenizer(
    model: str,
    tokenizer: str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    system_prompt: str | None = None,
    weights: bool = True,
) -> Any:
    """Load the tokenizer and check its template and, with `weights`, its vocabulary against the model's."""
    from tersely.engines.model_checks import check_template, check_vocabulary, model_config
    from tersely.engines.models import load_tokenizer

    tokens = load_tokenizer(tokenizer or model, needs_pad=False)
    check_template(tokens, chat_template_kwargs, system_prompt)
    if weights:
        check_vocabulary(model, tokens, model_config(model))
    return tokens


def engine_kind(engine: str) -> str:
    """The engine's name in the registry, `server` for an address; raises `ConfigError` for anything else."""
    if re.fullmatch(r"https?://[^/\s]+(/.*)?", engine):
        return ADDRESSED
    names = [name for name in evaluation_engines() if name != ADDRESSED]
    if engine not in names:
        raise ConfigError(
            f"--engine: got {engine!r}; {nearest(engine, names)}, or a server's address such as http://host:8000"
        )
    return engine


def trained_model(model: str) -> str:
    """`runs/x/final` for the run directory `runs/x` (with a printed line); any other model unchanged."""
    folder = Path(expanded(model, "model"))
    final = folder / "final"
    if _has_model(folder) or not _has_model(final):
        return model
    logger.info("%s is a training run; evaluating its final model, %s", model, final)
    return str(final)


def _has_model(folder: Path) -> bool:
    """True for a folder with a whole model or an adapter."""
    return any((folder / name).is_file() for name in ("config.json", CONFIG))


def faster_engine(engine: str) -> str | None:
    """Hint to use vLLM if it is installed, a GPU is available, and a slower engine was chosen."""
    from importlib.util import find_spec

    if not capabilities_of(engine_kind(engine)).trained_model or find_spec("vllm") is None:
        return None
    import torch

    return "vLLM and a GPU are available: --engine vllm samples faster" if torch.cuda.is_available() else None


def require_place(model: str) -> None:
    """Raise `ConfigError` for a missing folder, a folder without a model, and a hub id that is not cached when offline."""
    from tersely.engines.models import model_place

    finding = model_place(model)
    if finding.level == "fail":
        hint = "" if Path(model_location(model)).exists() else beside(model_location(model))
        raise ConfigError(
            "; ".join(filter(None, (f"model: {finding.text}", hint, "expected a folder, a hub id, or `testbed`")))
        )


def make_verifier(workers: int | None = None) -> AnswerVerifier:
    """The project's verifier with default options."""
    from tersely.rewards import Verifier

    return Verifier() if workers is None else Verifier(workers=workers)


def transformers_evaluator(
    model: Any,
    tokenizer: Any = None,
    *,
    verifier: Any = None,
    batch: int | None = None,
    dtype: str | None = None,
) -> Evaluator:
    """Create the in-process engine; `model` is a loaded model, or a name or folder to load onto the best device."""
    from tersely.engines.models import load_tokenizer

    named = isinstance(model, str)
    if named and not hasattr(tokenizer, "chat_template"):
        tokenizer = checked_tokenizer(model, tokenizer)
    name = model if named else str(getattr(model.config, "_name_or_path", "") or "in memory")
    if tokenizer is None or isinstance(tokenizer, str):
        tokenizer = load_tokenizer(tokenizer or name, needs_pad=False)
    settings = EngineSettings(tokenizer, model_location(model) if named else model, dtype=dtype)
    made = create_engine(DEFAULT, settings)
    return Evaluator(
        model=identity(name),
        prompting=saved_prompting(model_location(name))[0],
        tokenizer=tokenizer,
        engine=made,
        verifier=verifier or make_verifier(),
        batch=batch or made.batch,
        context=made.context,
        maker_sampling=_maker_sampling(made, name),
    )


def _maker_sampling(engine: Engine, location: str) -> dict[str, Any]:
    """Sampling settings from the generation config of the engine's model, or else of the folder or hub id."""
    if engine.capabilities.model_access:
        return maker_sampling(getattr(engine.model, "generation_config", None))
    from transformers import GenerationConfig

    try:
        return maker_sampling(GenerationConfig.from_pretrained(location))
    except OSError:
        return {}


def maker_sampling(config: Any) -> dict[str, Any]:
    """Temperature, top-p and top-k from the model's generation config; greedy if it disables sampling."""
    if config is None:
        return {}
    if config.do_sample is False:
        return {"temperature": 0.0}
    found = {key: getattr(config, key, None) for key in ("temperature", "top_p", "top_k")}
    return {key: value for key, value in found.items() if value is not None}


def _context(location: str) -> int | None:
    from transformers import AutoConfig

    return getattr(AutoConfig.from_pretrained(location), "max_position_embeddings", None)


def identity(model: str) -> str:
    """Identity of a model: its name, plus a hash of the weights for a local folder, which may change.

    Hashes the sizes and three 64 kB parts of every weight file, enough to detect any training step.
    """
    folder = Path(model_location(model))
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return model
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for place in (0, size // 2, max(0, size - 65536)):
                file.seek(place)
                digest.update(file.read(65536))
    return f"{model} [{digest.hexdigest()[:12]}]"


def evaluate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    benchmark: str | Mapping[str, Any] | Benchmark,
    samples: int | None = None,
    *,
    out: str | Path,
    name: str | None = None,
    verifier: Any = None,
    batch: int | None = None,
    **settings: Any,
) -> dict[str, float]:
    """Evaluate a loaded model (or a name or path) on one benchmark with the transformers engine.

    tokenizer: None loads the model's. settings: seed, limit, instruction, system_prompt, temperature, top_p, top_k,
    max_new_tokens. Returns `summary`; writes `out`/records.jsonl.
    """
    from tersely.eval.engines import transformers_evaluator

    evaluator = transformers_evaluator(model, tokenizer, verifier=verifier, batch=batch)
    try:
        return evaluator.run(benchmark, out, run=name, samples=samples, **settings)
    finally:
        evaluator.engine.close()
        if verifier is None:
            evaluator.verifier.close()
