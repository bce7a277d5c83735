"""The command line of `vllm serve` for a template.

Only what the template, its profile and Sluice itself (for draining and accounting) say is passed; the rest is left to vLLM.
Which versions have an argument is in one table; that the tables hold for vLLM's real parsers is shown by the tests of level
vllm. Building never fails: what cannot work is found by `problems` before anything is built.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from sluice.api import template as template_api  # parameters are named template
from sluice.api import vllm as vllm_api  # as template_api
from sluice.workloads import files, profiles, sources

COMMAND: Final = ("vllm", "serve")
MIDDLEWARE: Final = "hold_headers.HoldHeaders"
"""In HOLD_HEADERS of `files`, found by PYTHONPATH."""
_TAG: Final = re.compile(r"v?(?P<major>[0-9]{1,3})\.(?P<minor>[0-9]{1,3})(\.|$|[-_+])")
_FIELD: Final = "spec.template.engine.vllm.args"


class Version(NamedTuple):
    """A version of vLLM; patches change no arguments."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


V32: Final = Version(0, 32)
V33: Final = Version(0, 33)
VERSIONS: Final = (V32, V33)
"""Those whose parsers are known, oldest first. Newer ones are taken for the newest, older ones are refused."""


@dataclasses.dataclass(frozen=True)
class Argument:
    """One flag that takes the value of one typed argument as it is."""

    flag: str
    since: Version = V32
    """The first version of VERSIONS that has it."""
    values: Mapping[Version, frozenset[str]] = dataclasses.field(default_factory=dict)
    """All that it takes, for versions that take no other value."""


_KV_CACHE_DTYPES_32: Final = frozenset({
    "auto", "bfloat16", "float16", "fp8", "fp8_ds_mla", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_per_token_head",
    "int4_per_token_head", "int8_per_token_head", "nvfp4", "nvfp4_4over6", "nvfp4_ds_mla", "turboquant_3bit_nc",
    "turboquant_4bit_nc", "turboquant_k3v4_nc", "turboquant_k8v4", "ultraquant_4bit",
})  # fmt: skip

ARGUMENTS: Final[Mapping[str, Argument]] = {
    "maxModelLen": Argument("max-model-len"),
    "tensorParallelSize": Argument("tensor-parallel-size"),
    "pipelineParallelSize": Argument("pipeline-parallel-size"),
    "dataParallelSize": Argument("data-parallel-size"),
    "gpuMemoryUtilization": Argument("gpu-memory-utilization"),
    "maxNumSeqs": Argument("max-num-seqs"),
    "maxNumBatchedTokens": Argument("max-num-batched-tokens"),
    "maxQueuedRequests": Argument("max-num-queued-reqs"),
    "quantization": Argument("quantization"),
    "dtype": Argument("dtype"),
    "kvCacheDtype": Argument(
        "kv-cache-dtype",
        values={V32: _KV_CACHE_DTYPES_32},
    ),
    "prefixCaching": Argument("enable-prefix-caching"),
    "speculative": Argument("speculative-config"),
    "toolCallParser": Argument("tool-call-parser"),
    "reasoningParser": Argument("reasoning-parser"),
    "generationDefaults": Argument("override-generation-config"),
    "trustRemoteCode": Argument("trust-remote-code"),
    "maxLoras": Argument("max-loras"),
    "maxLoraRank": Argument("max-lora-rank"),
}
"""The typed arguments by their names in the API."""
_SPECULATIVE_METHODS: Final = {
    "NGram": "ngram",
    "DraftModel": "draft_model",
    "Eagle": "eagle",
    "Eagle3": "eagle3",
    "MTP": "mtp",
}


def build_args(
    template: template_api.Template, *, served_name: str, port: int, shutdown_timeout: int, hold_headers: bool = False
) -> list[str]:
    """Arguments after `vllm serve`. `shutdown_timeout` is in seconds and above 0: with 0 vLLM freezes cut streams.

    `hold_headers`: whether the middleware is used; its file and the environment of `build_environment` must be there then.
    """
    vllm = template.engine.vllm or vllm_api.VllmEngine()
    return [
        sources.model_argument(template.model.source),
        f"--served-model-name={served_name}",
        "--host=0.0.0.0",
        f"--port={port}",
        f"--shutdown-timeout={shutdown_timeout}",
        "--enable-server-load-tracking",
        "--enable-force-include-usage",
        *([f"--middleware={MIDDLEWARE}"] if hold_headers else []),
        *([f"--chat-template={files.CHAT_TEMPLATE_PATH}"] if template.model.chat_template else []),
        *_adapters(template),
        *_typed(profiles.effective_args(template)),
        *(vllm.extra_args or ()),
    ]


def build_environment(template: template_api.Template) -> dict[str, str]:
    """Variables of the engine container that the arguments need."""
    return {"PYTHONPATH": files.MOUNT_PATH} if profiles.holds_headers(template) else {}


def version_of(template: template_api.Template, *, default_image: str) -> Version:
    """The version that decides: the template's, else that of the image's tag, else the newest that is known."""
    said = template.engine.version
    if said is not None:
        major, minor = said.split(".")
        return Version(int(major), int(minor))
    name, _, tag = (template.engine.image or default_image).partition("@")[0].rpartition("/")[2].partition(":")
    found = _TAG.match(tag)
    # Other images may well count their own versions.
    if found is None or "vllm" not in name:
        return VERSIONS[-1]
    return Version(int(found["major"]), int(found["minor"]))


def problems(template: template_api.Template, *, default_image: str) -> Iterator[str]:
    """What the engine's version has not: each names the field, the version and the fix."""
    version = version_of(template, default_image=default_image)
    if version < VERSIONS[0]:
        yield (
            f"Cannot start vLLM {version} ({_origin(template, default_image)}): Sluice knows versions {VERSIONS[0]} and newer. "
            f"Use an image of vLLM {VERSIONS[0]} or newer, or say in spec.template.engine.version what the image really has"
        )
        return
    yield from _unreachable_middleware(template)
    known = max(each for each in VERSIONS if each <= version)
    for name, value in profiles.effective_args(template).to_wire().items():
        argument = ARGUMENTS[name]
        if known < argument.since:
            yield (
                f"Cannot use {_FIELD}.{name}: vLLM {version} ({_origin(template, default_image)}) has no --{argument.flag}. "
                f"Remove it, or use an image of vLLM {argument.since} or newer"
            )
        elif known in argument.values and value not in argument.values[known]:
            yield (
                f"Cannot use {_FIELD}.{name} {value}: vLLM {version} ({_origin(template, default_image)}) takes only "
                f"{', '.join(sorted(argument.values[known]))}. Use one of them, or an image of a newer vLLM"
            )


def _unreachable_middleware(template: template_api.Template) -> Iterator[str]:
    said = next((entry.value for entry in template.engine.env or () if entry.name == "PYTHONPATH"), files.MOUNT_PATH)
    if profiles.holds_headers(template) and files.MOUNT_PATH not in (said or "").split(":"):
        yield (
            f"Cannot hold headers: spec.template.engine.env sets PYTHONPATH, and {files.MOUNT_PATH} is not in it. "
            "Add that path, or set spec.template.engine.vllm.holdHeaders: false"
        )


def _origin(template: template_api.Template, default_image: str) -> str:
    if template.engine.version is not None:
        return "by spec.template.engine.version"
    return f"by the tag of image {template.engine.image or default_image}"


def _adapters(template: template_api.Template) -> Iterator[str]:
    if not template.model.adapters:
        return
    # All after one flag: vLLM forgets all but the last flag. Another flag follows, or it would take what comes for an adapter.
    yield "--lora-modules"
    for adapter in template.model.adapters:
        yield f"{adapter.name}={sources.adapter_path(adapter.name, adapter.source)}"
    yield "--enable-lora"


def _typed(args: vllm_api.VllmArgs) -> Iterator[str]:
    for name, value in args.to_wire().items():
        flag = ARGUMENTS[name].flag
        if isinstance(value, bool):
            # vLLM 0.32 has no --disable-prefix-caching; the --no- form exists in every version.
            yield f"--{flag}" if value else f"--no-{flag}"
        elif isinstance(value, dict):
            yield f"--{flag}={_json(args, name)}"
        else:
            yield f"--{flag}={value}"
    if args.tool_call_parser is not None:
        yield "--enable-auto-tool-choice"


def _json(args: vllm_api.VllmArgs, name: str) -> str:
    value: Mapping[str, Any]
    if name == "speculative":
        assert args.speculative is not None
        value = _speculative(args.speculative)
    else:
        assert args.generation_defaults is not None
        value = _generation(args.generation_defaults)
    return json.dumps(value, separators=(",", ":"))


def _speculative(given: vllm_api.Speculative) -> dict[str, Any]:
    ngram = given.ngram or vllm_api.NGram()
    members = {
        "method": _SPECULATIVE_METHODS[given.type],
        "num_speculative_tokens": given.tokens,
        "model": given.draft_model and given.draft_model.path,
        "prompt_lookup_min": ngram.prompt_lookup_min,
        "prompt_lookup_max": ngram.prompt_lookup_max,
    }
    return {name: value for name, value in members.items() if value is not None}


def _generation(given: vllm_api.GenerationDefaults) -> dict[str, Any]:
    return {
        name: float(value) if isinstance(value, str) else value
        for name, value in given.model_dump(by_alias=False, exclude_none=True).items()
    }
