"""`tersely merge ADAPTER --out DIR`: writes an adapter and its base model as one plain model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tersely.core.errors import ConfigError
from tersely.core.paths import path_option, place_option
from tersely.launch.cli.parser import Parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="tersely merge",
        description="Write an adapter and its base model as one plain model, with tokenizer and prompting.",
    )
    parser.add_argument("adapter", type=place_option, help="folder or hub id of the adapter, or a run that trained one")
    parser.add_argument("--out", type=path_option, required=True, metavar="DIR", help="new folder of the merged model")
    options = parser.parse_args(argv)
    merge(options.adapter, Path(options.out))
    print(f"merged model: {options.out}")
    return 0


def merge(adapter: str, out: Path) -> None:
    """Write the merged model to `out`, in the base model's dtype; with steering vectors as a Llama.

    Raises `ConfigError` for anything but an adapter, and for vectors of an architecture that cannot have them as biases.
    """
    from tersely.engines import steering
    from tersely.engines.model_checks import model_config
    from tersely.engines.model_folder import adapter_config, model_location
    from tersely.engines.models import load_frozen, load_tokenizer
    from tersely.eval.engines import require_place, trained_model
    from tersely.eval.trained_prompt import saved_prompting

    adapter = trained_model(adapter)
    require_place(adapter)
    location = model_location(adapter)
    stored = adapter_config(location)
    if stored is None:
        raise ConfigError(f"adapter: got {adapter}, a whole model; expected an adapter (adapter_config.json)")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out: got {out}, which exists; expected a new or empty folder")
    tokenizer = load_tokenizer(adapter, needs_pad=False)
    steered, config = stored.get("peft_type") == steering.PEFT_TYPE, model_config(adapter)
    if steered:
        steering.llama_values(config)
    model = load_frozen(location, "float32", "cpu")  # in float32 the sum is rounded only once
    dtype = config.dtype or model.dtype
    (steering.as_llama(model) if steered else model).to(dtype).save_pretrained(out)
    tokenizer.save_pretrained(out)
    prompting, where = saved_prompting(location)
    if where is not None:
        prompting.save(str(out))
