"""What a vLLM server's worker can do beside vLLM's own: `--worker-extension-cls tersely.rl.vllm_worker.TerselyWorker`."""

from __future__ import annotations

from typing import Any


class TerselyWorker:
    """Mixed into vLLM's worker; its methods are called through `/collective_rpc`."""

    model_runner: Any

    def repack_tied_head(self) -> dict[str, bool]:
        """After `reload_weights` on a CPU; see `vllm_weights.repack_tied_head`. {"packed": whether there was a head}."""
        from tersely.rl.vllm_weights import repack_tied_head

        return {"packed": repack_tied_head(self.model_runner.get_model())}
