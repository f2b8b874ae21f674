"""Extension of vLLM's server worker, loaded with `--worker-extension-cls`: repacks a tied output head."""

from __future__ import annotations

from typing import Any


class TerselyWorker:
    """Mixin of vLLM's worker; its methods are called through `/collective_rpc`."""

    model_runner: Any

    def repack_tied_head(self) -> dict[str, bool]:
        """Repack after new weights on a CPU, see `vllm_weights.repack_tied_head`. Returns {"packed": True if it did}."""
        from vllm.platforms import current_platform

        from tersely.engines.vllm_weights import repack_tied_head

        if not current_platform.is_cpu():
            return {"packed": True}
        return {"packed": repack_tied_head(self.model_runner.get_model())}
