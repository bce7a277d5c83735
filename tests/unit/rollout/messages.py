"""What schedulers, registries, container runtimes, vLLM and the API server say of pods that are not ready."""

from __future__ import annotations

NO_GPU = (
    "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: 3 No preemption victims found"
)
NO_CLAIM = '0/1 nodes are available: persistentvolumeclaim "models" not found. not found'
NO_CLASS = (
    "0/1 nodes are available: request g: device class gpu.example.com does not exist. no new claims to deallocate, "
    "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
)
NO_DEVICE = (
    "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: 0/1 nodes are available: "
    "1 Preemption is not helpful for scheduling."
)
PULL = 'Back-off pulling image "r.example/llm/chat:v2": ErrImagePull: failed to pull and unpack image "r.example/llm/chat:v2": '
RESOLVE = PULL + 'failed to resolve reference "r.example/llm/chat:v2": '
UNKNOWN_TAG = RESOLVE + "r.example/llm/chat:v2: not found"
NO_DRIVER = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to "
    "start container process: error during container init: nvidia-container-cli: initialization error: driver not loaded"
)
NO_COMMAND = 'unable to start container process: exec: "vllm": executable file not found in $PATH'
USAGE = "usage: vllm serve [model_tag] [options]\nvllm serve: error: unrecognized arguments: --enforce-eagr"
CONFIG = (
    "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
    "  Value error, User-specified max_model_len (9000000) is greater than the derived max_model_len (2048)."
)
NO_MODEL = (
    "1 validation error for ModelConfig\n  Value error, Invalid repository ID or local directory specified: '/models/nope'.\n"
    "Please verify the following requirements:"
)
GATED = "huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-66)\n\nCannot access gated repo for url"
HUB_DOWN = (
    "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.\n"
    "Value error, Invalid repository ID or local directory specified: 'org/chat'"
)
TRACE = "Traceback (most recent call last):\nRuntimeError: Engine core initialization failed. See root cause above."
HUNG = "Liveness probe failed: the engine hangs: requests are in flight and nothing has moved for 131 s\n"
QUOTA = 'pods "chat-1a2b3c4d-7c9f8-2" is forbidden: exceeded quota: team, requested: requests.nvidia.com/gpu=1'
POLICY = 'pods "chat-1a2b3c4d-7c9f8-2" is forbidden: violates PodSecurity "restricted:latest": seccompProfile'
