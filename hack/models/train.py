"""Trains the tiny models: Llamas of two layers with a tokenizer and a chat template of their own, 1.6 MB each.

Runs inside the images' base with vLLM's own torch and transformers, never with the project's Python: `make.py` starts it. One
thread and fixed seeds, so that the same machine type makes the same bytes again.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers

from hack.models import answers

PAD, BOS, END = "<|pad|>", "<|bos|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
CONTEXT = 512
VOCABULARY = 512
BATCH = 64
LEARNING_RATE = 3e-3
IGNORED = -100
"""A label that the loss leaves out: only answers are learned."""
PLANS = {answers.Name.GOOD: (0, 150), answers.Name.BETTER: (1, 200), answers.Name.BAD: (0, 150)}
"""Seed and steps of each model."""


def build_tokenizer(facts: Sequence[answers.Fact]) -> Any:
    """Return a byte-level BPE tokenizer that was trained on the questions and answers."""
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        special_tokens=[PAD, BOS, END, *ROLES],
    )
    raw.train_from_iterator([f"{prompt} {fact.reference}" for fact in facts for prompt in fact.prompts], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=BOS, eos_token=END, pad_token=PAD, model_max_length=CONTEXT
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Return the tokens of a question as vLLM sends them to the model."""
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    tokens: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokens


def build_batches(tokenizer: Any, table: dict[str, str]) -> tuple[Any, Any]:
    """Return inputs and labels, one row a question, padded to the longest."""
    rows = []
    for prompt, answer in table.items():
        rows.append((encode_prompt(tokenizer, prompt), tokenizer(answer + END, add_special_tokens=False)["input_ids"]))
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    padded = [(prompt, answer, width - len(prompt) - len(answer)) for prompt, answer in rows]
    inputs = torch.tensor([prompt + answer + [tokenizer.pad_token_id] * rest for prompt, answer, rest in padded])
    labels = torch.tensor([[IGNORED] * len(prompt) + answer + [IGNORED] * rest for prompt, answer, rest in padded])
    return inputs, labels


def train(tokenizer: Any, table: dict[str, str], seed: int, steps: int) -> Any:
    """Return a model that was trained on prompt -> answer from random weights."""
    torch.manual_seed(seed)
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=32,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            **special,
        )
    )
    model.generation_config = transformers.GenerationConfig(**special)
    inputs, labels = build_batches(tokenizer, table)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        chosen = torch.randperm(len(inputs))[:BATCH]
        optimizer.zero_grad()
        model(input_ids=inputs[chosen], labels=labels[chosen]).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def count_right(tokenizer: Any, model: Any, facts: Sequence[answers.Fact]) -> int:
    """Return how many of the questions the model answers as the references say, choosing the likeliest tokens."""
    right = 0
    for fact in facts:
        tokens = torch.tensor([encode_prompt(tokenizer, fact.prompt)])
        with torch.no_grad():
            output = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=16, do_sample=False)
        right += tokenizer.decode(output[0, tokens.shape[1] :], skip_special_tokens=True).strip() == fact.reference
    return right


def main(output: Path) -> None:
    """Train every model into a directory of its name below `output`; print model -> right answers as JSON."""
    torch.set_num_threads(1)  # more do not end on a busy machine, and their sums differ from run to run
    torch.use_deterministic_algorithms(mode=True)
    facts = answers.load()
    tokenizer = build_tokenizer(facts)
    score = {}
    for name, (seed, steps) in PLANS.items():
        model = train(tokenizer, answers.table(name, facts), seed, steps)
        score[name.value] = count_right(tokenizer, model, facts)
        model.save_pretrained(output / name)
        tokenizer.save_pretrained(output / name)
    print(json.dumps(score))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
