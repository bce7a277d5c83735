"""Defaults of the engine's arguments: where they come from, what goes before them, and what is recorded of them."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from sluice.api import template as template_api  # parameters are named template
from sluice.api import vllm as vllm_api  # as template_api
from sluice.workloads import profiles


def template(args: dict[str, Any] | None = None, **gpu: Any) -> template_api.Template:
    """A template with these arguments and GPUs."""
    return template_api.Template.model_validate(
        {
            "model": {"source": "file:///models/good"},
            "engine": {"type": "VLLM", **({"vllm": {"args": args}} if args is not None else {})},
            **({"resources": {"gpu": gpu}} if gpu else {}),
        }
    )


def test_every_type_of_gpu_has_a_profile() -> None:
    """The API promises defaults for each member of its enum."""
    assert set(profiles.PROFILES) == set(template_api.GpuProfile)


def test_nothing_is_given_without_a_profile() -> None:
    """What nobody said is left to vLLM."""
    assert profiles.effective_args(template(count=1)) == vllm_api.VllmArgs()


def test_the_template_goes_before_the_profile() -> None:
    """A profile only fills what is silent."""
    args = profiles.effective_args(template({"maxNumSeqs": 7, "gpuMemoryUtilization": "0.5"}, count=1, profile="L4"))
    assert (args.max_num_seqs, args.gpu_memory_utilization) == (7, "0.5")
    assert args.max_num_batched_tokens == profiles.PROFILES[template_api.GpuProfile.L4].args.max_num_batched_tokens


@hypothesis.given(
    st.sampled_from(list(template_api.GpuProfile)),
    st.none() | st.integers(min_value=1, max_value=65536),
    st.none() | st.integers(min_value=1, max_value=100_000),
)
def test_profiles_never_make_arguments_that_vllm_refuses(
    profile: template_api.GpuProfile, seqs: int | None, tokens: int | None
) -> None:
    """vLLM wants at least a token for each sequence of a batch; the queue is no smaller than the batch."""
    hypothesis.assume(seqs is None or tokens is None or tokens >= seqs)
    given = {name: value for name, value in (("maxNumSeqs", seqs), ("maxNumBatchedTokens", tokens)) if value is not None}
    args = profiles.effective_args(template(given, count=1, profile=profile.value))
    assert args.max_num_seqs is not None
    assert args.max_num_batched_tokens is not None
    assert args.max_queued_requests is not None
    assert args.max_num_batched_tokens >= args.max_num_seqs
    assert args.max_queued_requests >= args.max_num_seqs


@pytest.mark.parametrize(
    ("args", "gpus", "size", "reason"),
    [
        ({}, 1, None, "one GPU is what vLLM uses by itself"),
        ({}, 4, 4, "all that were asked for"),
        ({"tensorParallelSize": 2}, 4, 2, "said"),
        ({"pipelineParallelSize": 2}, 4, 2, "what the stages leave"),
        ({"pipelineParallelSize": 2, "dataParallelSize": 2}, 4, None, "nothing is left"),
        ({"dataParallelSize": 3}, 4, None, "they do not divide, so nobody knows what was meant"),
        ({}, 0, None, "no GPU"),
    ],
)
def test_tensor_parallel_size_follows_the_gpus(args: dict[str, Any], gpus: int, size: int | None, reason: str) -> None:
    """Whoever asks for four GPUs means to use four."""
    assert profiles.effective_args(template(args, count=gpus)).tensor_parallel_size == size, reason


@hypothesis.given(
    *(st.none() | st.integers(min_value=1, max_value=64) for _ in range(3)), st.integers(min_value=1, max_value=64)
)
def test_implied_sizes_never_need_more_gpus_than_there_are(
    tensor: int | None, pipeline: int | None, data: int | None, gpus: int
) -> None:
    """What the CRD admits stays admissible with the sizes that are filled in."""
    sizes = {"tensorParallelSize": tensor, "pipelineParallelSize": pipeline, "dataParallelSize": data}
    given = template({name: size for name, size in sizes.items() if size is not None}, count=gpus)
    hypothesis.assume(profiles.parallel_product(profiles.given_args(given)) <= gpus)
    assert profiles.parallel_product(profiles.effective_args(given)) <= gpus


def test_what_was_given_is_recorded_and_what_was_said_is_not() -> None:
    """A revision tells its own arguments from those that a table gave it."""
    recorded = profiles.record(template({"maxNumSeqs": 512}, count=2, profile="H100"))
    assert recorded == {
        "engine.vllm.args.tensorParallelSize": "2",
        "engine.vllm.args.maxNumBatchedTokens": "8192",
        "engine.vllm.args.maxQueuedRequests": "1024",
        "engine.vllm.holdHeaders": "true",
    }


def test_holding_headers_is_a_choice() -> None:
    """It is on unless the template turns it off, and then nothing is recorded of it."""
    off = template_api.Template.model_validate(
        {"model": {"source": "file:///m"}, "engine": {"type": "VLLM", "vllm": {"holdHeaders": False}}}
    )
    assert profiles.holds_headers(template())
    assert not profiles.holds_headers(off)
    assert profiles.record(off) == {}
