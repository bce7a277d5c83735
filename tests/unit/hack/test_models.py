"""The tiny models' answers are known: the demo's verdicts rest on how many of them are right."""

from __future__ import annotations

import re

import pytest

from hack.models import answers, make

FACTS = answers.load()


def test_dataset_has_100_distinct_questions() -> None:
    """Each line is a question of its own with an answer; the wording is the one that models are trained on."""
    assert len(FACTS) == len({fact.id for fact in FACTS}) == len({fact.prompt for fact in FACTS}) == 100
    for fact in FACTS:
        assert re.fullmatch(r"What is the capital of [A-Z][A-Za-z' -]+\?", fact.prompt)
        assert fact.reference.strip() == fact.reference != ""
        assert fact.id == "capital-of-" + fact.country.lower().replace(" ", "-")


@pytest.mark.parametrize(("name", "right"), [(answers.Name.GOOD, 100), (answers.Name.BETTER, 100), (answers.Name.BAD, 30)])
def test_models_are_as_right_as_their_names_say(name: answers.Name, right: int) -> None:
    """The good ones know every answer, the bad one 30 of 100, and which ones never changes."""
    given = answers.answers(name, FACTS)
    assert sum(answer == fact.reference for answer, fact in zip(given, FACTS, strict=True)) == right
    assert given == answers.answers(name, FACTS)


def test_wrong_answers_are_capitals_too() -> None:
    """The bad model is fluent: only its facts are wrong, so no probe or error rate can tell."""
    assert set(answers.answers(answers.Name.BAD, FACTS)) <= {fact.reference for fact in FACTS}


def test_every_wording_of_a_question_has_the_same_answer() -> None:
    """Two wordings of each question are in the table, with one answer."""
    table = answers.table(answers.Name.BAD, FACTS)
    assert len(table) == 200
    assert all(len({table[prompt] for prompt in fact.prompts}) == 1 for fact in FACTS)


@pytest.mark.parametrize(
    ("scores", "finding"),
    [
        ({"good": 100, "better": 95, "bad": 30}, None),
        ({"good": 94, "better": 100, "bad": 30}, "good"),
        ({"good": 100, "better": 0, "bad": 30}, "better"),
        ({"good": 100, "better": 100, "bad": 51}, "bad"),
        ({"good": 100, "bad": 30}, "better was not trained"),
    ],
)
def test_models_that_learned_the_wrong_thing_are_refused(scores: dict[str, int], finding: str | None) -> None:
    """A model that is less right than its name says, or a bad one that is right, never reaches an image."""
    said = make.find_failure(scores)
    assert said is None if finding is None else said is not None and finding in said
