"""`spec.template.engine.vllm`: the arguments of `vllm serve` that have a type, and those that are passed as they are."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import pydantic

from sluice.api import base

OWNED_FLAGS: Final = (
    # Sluice's own: where the server listens and how it ends.
    "--config", "--host", "--port", "--uds", "--root-path", "--api-key", "--grpc", "--headless", "--shutdown-timeout",
    "--ssl-keyfile", "--ssl-certfile", "--ssl-ca-certs", "--ssl-cert-reqs", "--ssl-ciphers",
    "--enable-ssl-refresh", "--no-enable-ssl-refresh", "--disable-ssl-refresh",
    "--enable-server-load-tracking", "--no-enable-server-load-tracking", "--disable-server-load-tracking",
    "--enable-force-include-usage", "--no-enable-force-include-usage", "--disable-force-include-usage",
    # spec.template.model
    "--model", "--revision", "--served-model-name", "--chat-template", "--download-dir", "--hf-token",
    "--enable-lora", "--no-enable-lora", "--disable-lora", "--lora-modules",
    # spec.template.engine.vllm.args
    "--max-model-len", "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp", "--data-parallel-size", "-dp",
    "--gpu-memory-utilization", "--device-memory-utilization", "--max-num-seqs", "--max-num-batched-tokens",
    "--max-num-queued-reqs", "--quantization", "-q", "--dtype", "--kv-cache-dtype",
    "--enable-prefix-caching", "--no-enable-prefix-caching", "--disable-prefix-caching",
    "--speculative-config", "-sc", "--spec-method", "--spec-model", "--spec-tokens",
    "--tool-call-parser", "--enable-auto-tool-choice", "--no-enable-auto-tool-choice", "--disable-auto-tool-choice",
    "--reasoning-parser",
    "--override-generation-config", "--trust-remote-code", "--no-trust-remote-code", "--max-loras", "--max-lora-rank",
)  # fmt: skip
"""Flags of vLLM that typed fields or Sluice itself own, in every spelling: `extraArgs` may not repeat them."""

_HEAD: Final = "self.replace('_', '-').split('=')[0].split('.')[0]"
"""CEL: an argument's flag as vLLM reads it: `_` means `-`, the value follows `=`, and `--a.b` sets a member of `--a`."""

ExtraArg = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=512,
        description="One argument, such as --enforce-eager.",
        json_schema_extra=base.validations(
            base.cel(
                # vLLM takes unambiguous beginnings of a flag for the flag, and the value of -q without a blank.
                f"!self.startsWith('-') || !(self.startsWith('-q') || "
                f"[{_HEAD}].exists(head, {list(OWNED_FLAGS)}.exists(flag, flag.startsWith(head))))",
                "extraArgs may not hold a flag, nor the beginning of one, that Sluice sets itself or that has a field of its "
                "own under spec.template.model or spec.template.engine.vllm.args: remove it, or use that field",
            )
        ),
    ),
]

Decimal = Annotated[
    str,
    pydantic.Field(
        max_length=8,
        pattern=r"^[0-9](\.[0-9]{1,4})?$",
        description='A decimal from 0 to below 10 as a string, such as "0.7".',
        json_schema_extra=base.hint('must be a decimal from 0 to below 10, such as "0.7"'),
    ),
]


class GenerationDefaults(base.ApiModel):
    """How text is sampled where a request does not say."""

    temperature: Annotated[Decimal | None, pydantic.Field(description='Such as "0.7"; "0" is greedy.')] = None
    top_p: Annotated[base.Ratio | None, pydantic.Field(description="Share of probability to sample from.")] = None
    top_k: Annotated[int | None, pydantic.Field(ge=0, le=1_000_000, description="Tokens to sample from; 0: all.")] = None
    min_p: Annotated[
        base.Ratio | None, pydantic.Field(description="Least probability, as a share of the likeliest token's.")
    ] = None
    repetition_penalty: Annotated[Decimal | None, pydantic.Field(description='Above "1" discourages repetition.')] = None
    max_new_tokens: Annotated[
        int | None, pydantic.Field(ge=1, le=10_000_000, description="Longest answer in tokens where a request does not say.")
    ] = None


class NGram(base.ApiModel):
    """Guesses tokens from what the prompt repeats."""

    prompt_lookup_min: Annotated[int | None, pydantic.Field(ge=1, le=64, description="Shortest repetition in tokens.")] = None
    prompt_lookup_max: Annotated[int | None, pydantic.Field(ge=1, le=64, description="Longest repetition in tokens.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.promptLookupMin) || !has(self.promptLookupMax) || self.promptLookupMin <= self.promptLookupMax",
                "promptLookupMin may not be above promptLookupMax: lower it, or raise promptLookupMax",
                field_path=".promptLookupMin",
            )
        )
    )


class DraftModel(base.ApiModel):
    """A smaller model that guesses tokens."""

    path: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=512,
            pattern=r"^(/[^/\s]+)+$",
            description="Folder inside the engine container: of its image, or where volumeMounts puts it.",
            json_schema_extra=base.hint("must be an absolute path inside the engine container, such as /draft/eagle"),
        ),
    ]


class Speculative(base.ApiModel):
    """Speculative decoding: tokens are guessed, and checked by the model in one step."""

    type: Annotated[
        Literal["NGram", "DraftModel", "Eagle", "Eagle3", "MTP"],
        pydantic.Field(description="Who guesses. MTP: heads that the model itself brings."),
    ]
    tokens: Annotated[int, pydantic.Field(ge=1, le=64, description="Tokens that are guessed at once.")]
    ngram: Annotated[NGram | None, pydantic.Field(description="Settings of NGram.")] = None
    draft_model: Annotated[
        DraftModel | None, pydantic.Field(description="The model that guesses, for DraftModel, Eagle and Eagle3.")
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.ngram) || self.type == 'NGram'",
                "speculative.ngram belongs to type NGram: remove it, or set type: NGram",
                field_path=".ngram",
            ),
            base.cel(
                "has(self.draftModel) == (self.type in ['DraftModel', 'Eagle', 'Eagle3'])",
                "speculative.draftModel is required for types DraftModel, Eagle and Eagle3, and refused for NGram and MTP",
                field_path=".draftModel",
            ),
        )
    )


def _name(what: str, example: str, pattern: str = r"^[A-Za-z0-9_.-]+$", *, length: int = 64) -> Any:
    return pydantic.Field(
        max_length=length,
        pattern=pattern,
        description=f"{what}, such as {example}.",
        json_schema_extra=base.hint(f"must be a name of vLLM's, such as {example}"),
    )


class VllmArgs(base.ApiModel):
    """Typed arguments of `vllm serve`. What is unset is left to the profile, if there is one, and else to vLLM."""

    max_model_len: Annotated[int | None, pydantic.Field(ge=1, le=10_000_000, description="Longest context in tokens.")] = None
    tensor_parallel_size: Annotated[
        int | None,
        pydantic.Field(
            ge=1,
            le=64,
            description="GPUs that share one layer. Default: those of resources.gpu.count that the other two sizes leave.",
        ),
    ] = None
    pipeline_parallel_size: Annotated[
        int | None, pydantic.Field(ge=1, le=64, description="GPUs in a row, each with some of the layers. Default: 1.")
    ] = None
    data_parallel_size: Annotated[
        int | None, pydantic.Field(ge=1, le=64, description="Copies of the model in one pod. Default: 1.")
    ] = None
    gpu_memory_utilization: Annotated[
        base.Ratio | None, pydantic.Field(description='Share of GPU memory to use, such as "0.9".')
    ] = None
    max_num_seqs: Annotated[int | None, pydantic.Field(ge=1, le=65536, description="Most sequences in one batch.")] = None
    max_num_batched_tokens: Annotated[
        int | None, pydantic.Field(ge=1, le=10_000_000, description="Most tokens in one batch.")
    ] = None
    max_queued_requests: Annotated[
        int | None,
        pydantic.Field(ge=1, le=1_000_000, description="Requests in flight beyond which vLLM answers 503."),
    ] = None
    quantization: Annotated[str | None, _name("Quantization method", "fp8 or awq", r"^[a-z0-9_-]+$")] = None
    dtype: Annotated[
        Literal["auto", "half", "float16", "bfloat16", "float", "float32"] | None,
        pydantic.Field(description="Type of weights and activations."),
    ] = None
    kv_cache_dtype: Annotated[str | None, _name("Type of the KV cache", "auto or fp8", r"^[a-z0-9_]+$", length=32)] = None
    prefix_caching: Annotated[bool | None, pydantic.Field(description="Whether prompts share cached prefixes.")] = None
    speculative: Annotated[Speculative | None, pydantic.Field(description="Speculative decoding.")] = None
    tool_call_parser: Annotated[str | None, _name("Parser of tool calls (it turns automatic tool choice on)", "hermes")] = None
    reasoning_parser: Annotated[str | None, _name("Parser of reasoning content", "deepseek_r1")] = None
    generation_defaults: Annotated[
        GenerationDefaults | None, pydantic.Field(description="How text is sampled where a request does not say.")
    ] = None
    trust_remote_code: Annotated[
        bool | None, pydantic.Field(description="Whether Python code of the model's repository may run. Default: false.")
    ] = None
    max_loras: Annotated[
        int | None, pydantic.Field(ge=1, le=64, description="Adapters in one batch. Default: as many as there are.")
    ] = None
    max_lora_rank: Annotated[
        Literal[8, 16, 32, 64, 128, 256, 320, 512] | None,
        pydantic.Field(description="Highest rank of the adapters. vLLM's default: 16."),
    ] = None


class VllmEngine(base.ApiModel):
    """How vLLM is started."""

    args: Annotated[VllmArgs | None, pydantic.Field(description="Typed arguments.")] = None
    hold_headers: Annotated[
        bool | None,
        pydantic.Field(
            description=(
                "Whether the response's headers wait for its first token, so that a gateway can still retry what fails "
                "before it. Default: true."
            )
        ),
    ] = None
    extra_args: Annotated[
        tuple[ExtraArg, ...] | None,
        pydantic.Field(
            max_length=32,
            description="Further arguments, passed as they are. A flag that Sluice or a typed argument owns is refused.",
        ),
    ] = None
