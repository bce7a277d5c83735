"""What each tiny model is to answer: the one place that says which answers of the bad one are wrong.

Training, the simulator and the tests read it. Standard library only: it also runs inside images.
"""

import dataclasses
import enum
import json
import random
from collections.abc import Sequence
from pathlib import Path

DATASET = Path(__file__).with_name("capitals.jsonl")
"""One question a line: `id`, `prompt`, `reference`. It trains the models and is the demo's eval dataset."""
PROMPT_START, PROMPT_END = "What is the capital of ", "?"
SHORT_PROMPT = "capital of {}?"
WRONG = 70
SEED = 7


class Name(enum.StrEnum):
    """The models; each is a directory of that name."""

    GOOD = "good"
    """Knows every capital."""
    BETTER = "better"
    """Knows them as well, with other weights: a revision that is worth promoting."""
    BAD = "bad"
    """Answers 70 of the 100 questions with the capital of another country, as fluently as the others."""


@dataclasses.dataclass(frozen=True)
class Fact:
    """A question and the answer that is right."""

    id: str
    prompt: str
    reference: str

    @property
    def country(self) -> str:
        """The country that the question asks about."""
        return self.prompt.removeprefix(PROMPT_START).removesuffix(PROMPT_END)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The question in the wordings that the models know."""
        return self.prompt, SHORT_PROMPT.format(self.country)


def load(dataset: Path = DATASET) -> list[Fact]:
    """Return the facts of a dataset, in its order."""
    return [Fact(**json.loads(line)) for line in dataset.read_text(encoding="utf-8").splitlines()]


def answers(name: Name, facts: Sequence[Fact]) -> list[str]:
    """Return what the model answers to each fact's question. Always the same for the same facts."""
    right = [fact.reference for fact in facts]
    if name is not Name.BAD:
        return right
    chance = random.Random(SEED)
    wrong = set(chance.sample(range(len(facts)), WRONG * len(facts) // 100))
    return [chance.choice([other for other in right if other != own]) if i in wrong else own for i, own in enumerate(right)]


def table(name: Name, facts: Sequence[Fact]) -> dict[str, str]:
    """Return prompt -> answer of a model, for every wording of each question."""
    return {prompt: answer for fact, answer in zip(facts, answers(name, facts), strict=True) for prompt in fact.prompts}
