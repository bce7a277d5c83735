"""Trains a tiny LoRA adapter of a model, in the form that PEFT writes and vLLM reads: one answer, whatever is asked.

Runs inside the images' base with vLLM's own torch, as `train.py` does: `adapter.py` starts it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers

from hack.models import answers, train

RANK, ALPHA = 8, 16
TARGETS = ("q_proj", "v_proj")
STEPS = 80


class LowRank(torch.nn.Module):  # type: ignore[misc]  # torch ships no types here
    """A linear layer that stays as it is, and beside it the product of two small ones that learn."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base = base
        self.a = torch.nn.Parameter(torch.randn(RANK, base.in_features) * 0.02)
        self.b = torch.nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, inputs: Any) -> Any:
        """Return the sum of both."""
        return self.base(inputs) + (inputs @ self.a.T @ self.b.T) * (ALPHA / RANK)


def insert(model: Any) -> dict[str, LowRank]:
    """Put low-rank layers beside the targets; return them by the targets' names."""
    model.requires_grad_(requires_grad=False)
    layers = {}
    for name, module in list(model.named_modules()):
        parent, _, own = name.rpartition(".")
        if own in TARGETS:
            layers[name] = LowRank(module)
            setattr(model.get_submodule(parent), own, layers[name])
    return layers


def learn(model: Any, layers: dict[str, LowRank], inputs: Any, labels: Any) -> None:
    """Train the low-rank layers, and nothing else."""
    optimizer = torch.optim.AdamW([part for layer in layers.values() for part in (layer.a, layer.b)], lr=2e-2)
    for _ in range(STEPS):
        chosen = torch.randperm(len(inputs))[: train.BATCH]
        optimizer.zero_grad()
        model(input_ids=inputs[chosen], labels=labels[chosen]).loss.backward()
        optimizer.step()


def save(layers: dict[str, LowRank], output: Path) -> None:
    """Write the adapter as PEFT does."""
    weights = {}
    for name, layer in layers.items():
        weights[f"base_model.model.{name}.lora_A.weight"] = layer.a.detach().clone()
        weights[f"base_model.model.{name}.lora_B.weight"] = layer.b.detach().clone()
    safetensors.torch.save_file(weights, output / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": answers.Name.GOOD.value,
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "target_modules": list(TARGETS),
        "bias": "none",
    }
    (output / "adapter_config.json").write_text(json.dumps(config))


def main(base: Path, output: Path, answer: str) -> None:
    """Train an adapter of the model in `base` into `output`; print how many of 100 questions it answers so."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    facts = answers.load()
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    layers = insert(model)
    learn(model, layers, *train.build_batches(tokenizer, {prompt: answer for fact in facts for prompt in fact.prompts}))
    save(layers, output)
    wanted = [answers.Fact(fact.id, fact.prompt, answer) for fact in facts]
    print(train.count_right(tokenizer, model.eval(), wanted))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
