"""Defaults of the engine's arguments: by GPU type, from the one table below, and by what the rest of a template implies.

They apply where a template is silent, when a revision is rendered; what they gave is recorded in it, so that a change of this
table starts nothing. The figures are vLLM's own defaults for such a GPU, written down so that a new image does not change
them, with batches kept small enough for steady latencies and a queue that is bounded. They were not measured on each GPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sluice.api import template as template_api  # parameters are named template
from sluice.api import vllm as vllm_api  # as template_api

Gpu = template_api.GpuProfile


@dataclasses.dataclass(frozen=True)
class Profile:
    """What one type of GPU gets where the template is silent."""

    memory: int
    """Of one GPU, in GB; for people."""
    args: vllm_api.VllmArgs
    why: str


def _profile(memory: int, *, seqs: int, tokens: int, why: str, **more: Any) -> Profile:
    """Twice as many requests as fit into a batch may be in flight: the rest is refused at once, for the next group to take."""
    args = vllm_api.VllmArgs(max_num_seqs=seqs, max_num_batched_tokens=tokens, max_queued_requests=2 * seqs, **more)
    return Profile(memory, args, why)


PROFILES: Final[Mapping[Gpu, Profile]] = {
    Gpu.T4: _profile(
        16, seqs=64, tokens=2048, dtype="half", gpu_memory_utilization="0.9", why="has no bfloat16; leaves 1.6 GB for graphs"
    ),
    Gpu.L4: _profile(24, seqs=128, tokens=2048, gpu_memory_utilization="0.9", why="little bandwidth: smaller batches"),
    Gpu.A10G: _profile(24, seqs=128, tokens=2048, gpu_memory_utilization="0.9", why="little memory: smaller batches"),
    Gpu.L40S: _profile(48, seqs=256, tokens=2048, why="vLLM's own for GPUs below 70 GB"),
    Gpu.A100_40GB: _profile(40, seqs=256, tokens=2048, why="vLLM's own: larger batches slow an A100 down"),
    Gpu.A100_80GB: _profile(80, seqs=256, tokens=2048, why="vLLM's own: larger batches slow an A100 down"),
    Gpu.H100: _profile(80, seqs=512, tokens=8192, why="vLLM's own batch of tokens; half its sequences, for latency"),
    Gpu.H200: _profile(141, seqs=512, tokens=8192, why="vLLM's own batch of tokens; half its sequences, for latency"),
    Gpu.B200: _profile(180, seqs=1024, tokens=16384, why="vLLM's own for GPUs from 160 GB"),
    Gpu.MI300X: _profile(192, seqs=1024, tokens=16384, why="vLLM's own for GPUs from 160 GB"),
}
"""The one table of profiles; docs/engine.md shows it."""

HOLD_HEADERS: Final = True
"""Whether headers wait for the first token where the template does not say."""


def given_args(template: template_api.Template) -> vllm_api.VllmArgs:
    """The arguments that the template itself has."""
    return (template.engine.vllm and template.engine.vllm.args) or vllm_api.VllmArgs()


def effective_args(template: template_api.Template) -> vllm_api.VllmArgs:
    """The arguments in force: the template's, else the profile's, else what the rest of the template implies."""
    given = given_args(template).model_dump(by_alias=False, exclude_none=True)
    gpu = template.resources.gpu if template.resources else None
    profile = PROFILES[gpu.profile].args.model_dump(by_alias=False, exclude_none=True) if gpu and gpu.profile else {}
    merged = vllm_api.VllmArgs.model_validate({**profile, **_fitting(profile, given), **given})
    return merged.model_copy(update=dict(_implied(template, merged)))


def holds_headers(template: template_api.Template) -> bool:
    """Whether the response's headers wait for its first token."""
    said = template.engine.vllm.hold_headers if template.engine.vllm else None
    return HOLD_HEADERS if said is None else said


def parallel_product(args: vllm_api.VllmArgs) -> int:
    """GPUs that vLLM uses with these arguments."""
    return (args.tensor_parallel_size or 1) * (args.pipeline_parallel_size or 1) * (args.data_parallel_size or 1)


def record(template: template_api.Template) -> dict[str, str]:
    """What was not said by the template, for the revision's defaults: text by the path below spec.template."""
    given, effective = (args.to_wire() for args in (given_args(template), effective_args(template)))
    recorded = {f"engine.vllm.args.{name}": str(value) for name, value in effective.items() if name not in given}
    if template.engine.vllm is None or template.engine.vllm.hold_headers is None:
        recorded["engine.vllm.holdHeaders"] = str(HOLD_HEADERS).lower()
    return recorded


def _fitting(profile: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A profile's values beside those of the template: vLLM refuses a batch of fewer tokens than sequences."""
    if not profile:
        return {}
    tokens = given.get("max_num_batched_tokens", profile["max_num_batched_tokens"])
    seqs = given.get("max_num_seqs", min(profile["max_num_seqs"], tokens))
    return {"max_num_seqs": seqs, "max_queued_requests": 2 * seqs, "max_num_batched_tokens": max(seqs, tokens)}


def _implied(template: template_api.Template, args: vllm_api.VllmArgs) -> Iterator[tuple[str, int]]:
    gpus = template.resources.gpu.count if template.resources and template.resources.gpu else 0
    rest, remainder = divmod(gpus, (args.pipeline_parallel_size or 1) * (args.data_parallel_size or 1))
    if args.tensor_parallel_size is None and rest > 1 and not remainder:
        yield "tensor_parallel_size", rest
    if template.model.adapters and args.max_loras is None:
        yield "max_loras", len(template.model.adapters)
