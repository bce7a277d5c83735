"""The command line of `vllm serve` for a template.

Only what the template says (and what Sluice needs for draining and accounting) is passed; the rest is left to vLLM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sluice.api import template as template_api  # parameters are named template
from sluice.api import vllm as vllm_api  # as template_api; a local is named vllm
from sluice.workloads import sources

COMMAND: Final = ("vllm", "serve")


def build_args(template: template_api.Template, *, served_name: str, port: int, shutdown_timeout: int) -> list[str]:
    """Arguments after `vllm serve`. `shutdown_timeout` is in seconds and above 0: with 0 vLLM freezes cut streams."""
    vllm = template.engine.vllm or vllm_api.VllmEngine()
    args = [
        sources.model_argument(template.model.source),
        f"--served-model-name={served_name}",
        "--host=0.0.0.0",
        f"--port={port}",
        f"--shutdown-timeout={shutdown_timeout}",
        "--enable-server-load-tracking",
        "--enable-force-include-usage",
    ]
    if template.model.revision is not None:
        args.append(f"--revision={template.model.revision}")
    args.extend(_typed(vllm.args or vllm_api.VllmArgs()))
    args.extend(vllm.extra_args or ())
    return args


def _typed(args: vllm_api.VllmArgs) -> Iterator[str]:
    plain = {
        "max-model-len": args.max_model_len,
        "tensor-parallel-size": args.tensor_parallel_size,
        "gpu-memory-utilization": args.gpu_memory_utilization,
        "max-num-seqs": args.max_num_seqs,
        "max-num-batched-tokens": args.max_num_batched_tokens,
        "max-num-queued-reqs": args.max_queued_requests,
        "quantization": args.quantization,
        "dtype": args.dtype,
        "kv-cache-dtype": args.kv_cache_dtype,
        "tool-call-parser": args.tool_call_parser,
        "reasoning-parser": args.reasoning_parser,
    }
    for flag, value in plain.items():
        if value is not None:
            yield f"--{flag}={value}"
    if args.prefix_caching is not None:
        # vLLM 0.32 has no --disable-prefix-caching; the --no- form exists in every version.
        yield "--enable-prefix-caching" if args.prefix_caching else "--no-enable-prefix-caching"
    if args.tool_call_parser is not None:
        yield "--enable-auto-tool-choice"
