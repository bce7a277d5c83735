"""The Job of an eval, and what is read from its end."""

import dataclasses
import json
import pathlib
import typing
from typing import Any

import pytest
import yaml

from sluice.api import evalgate, naming
from sluice.evalrunner import command
from sluice.evals import builtin, registry, request
from sluice.evals import result as results
from sluice.evals.scorers import registry as scorers

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "evals"
SPEC = evalgate.Eval(
    name="golden",
    runner=evalgate.Runner(type="Builtin"),
    dataset=evalgate.Dataset.model_validate({"type": "ConfigMap", "configMap": {"name": "capitals", "key": "test.jsonl"}}),
    scorer=evalgate.Scorer(type="ExactMatch"),
    threshold=evalgate.Threshold(min="0.9"),
    sample_size=50,
    timeout="10m",
)
REQUEST = request.Request(
    namespace="team",
    deployment="chat",
    revision="1a2b3c4d",
    served_name="chat",
    spec=SPEC,
    dataset_sha256="ab" * 32,
    image="sluice/operator:dev",
    owner={"apiVersion": "sluice.dev/v1alpha1", "kind": "ModelDeployment", "name": "chat", "uid": "u-1", "controller": True},
)
RUNNER = builtin.Builtin()


def with_spec(**changes: object) -> request.Request:
    return dataclasses.replace(REQUEST, spec=SPEC.model_copy(update=changes))


def test_the_job_is_as_recorded() -> None:
    """The whole manifest, side by side with the golden file."""
    assert RUNNER.build_job(REQUEST) == yaml.safe_load((GOLDEN / "builtin-job.yaml").read_text())


def test_the_runner_understands_the_jobs_arguments() -> None:
    """Both ends of the command line agree, value by value."""
    command_name, *arguments = builtin.build_args(REQUEST)
    options = command.build_parser().parse_args(arguments)
    assert command_name == "eval"
    assert vars(options) | {
        "url": "http://chat-1a2b3c4d.team.svc:8000",
        "model": "chat",
        "dataset_sha256": "ab" * 32,
        "sample_size": 50,
        "temperature": 0.0,
        "max_tokens": 256,
        "seed": 1,
        "concurrency": 4,
        "scorer": "ExactMatch",
        "result": builtin.TERMINATION_LOG,
    } == vars(options)


def test_job_and_runner_agree_on_the_code_that_is_not_retried() -> None:
    """The failure policy ends the Job on exactly the runner's code for bad input."""
    assert int(command.ExitCode.BAD_INPUT) == builtin.EXIT_BAD_INPUT


def test_the_pods_are_no_endpoints_of_the_revision() -> None:
    """A Service selects a revision by its labels: an eval's pod must lack one of them."""
    labels = builtin.pod_labels(REQUEST)
    assert naming.LABEL_REVISION not in labels
    assert naming.LABEL_MODEL_DEPLOYMENT not in labels


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (dataclasses.replace(REQUEST, revision="ffffffff"), "another candidate"),
        (dataclasses.replace(REQUEST, deployment="other"), "another deployment"),
        (dataclasses.replace(REQUEST, namespace="else"), "another namespace"),
        (dataclasses.replace(REQUEST, dataset_sha256="cd" * 32), "another dataset"),
        (dataclasses.replace(REQUEST, image="sluice/operator:next"), "another runner"),
        (with_spec(sample_size=60), "other items"),
        (with_spec(generation=evalgate.Generation(seed=2)), "other sampling"),
    ],
)
def test_what_is_measured_changes_the_name(changed: request.Request, reason: str) -> None:
    """A cached result is used only for the same measurement."""
    assert changed.name != REQUEST.name, reason


@pytest.mark.parametrize(
    "changed",
    [
        with_spec(threshold=evalgate.Threshold(min="0.5")),
        with_spec(max_error_rate="0.5"),
        with_spec(timeout="1h"),
        with_spec(concurrency=8),
        with_spec(name="renamed"),
    ],
)
def test_what_judges_or_bounds_keeps_the_name(changed: request.Request) -> None:
    """A changed threshold needs no new run."""
    assert changed.name == REQUEST.name


def test_the_name_is_a_dns_label() -> None:
    """Job names become label values and pod names."""
    assert len(REQUEST.name) <= 63 - len("-abcde")


def test_a_dataset_that_is_no_config_map_is_a_defect() -> None:
    """The CRD refuses it, so code that sees one stops."""
    with pytest.raises(ValueError, match="not a ConfigMap"):
        RUNNER.build_job(with_spec(dataset=evalgate.Dataset(type="ConfigMap")))


def ended(name: str) -> Any:
    return yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("ended-*.yaml")), ids=lambda path: path.stem)
def test_an_ended_job_is_read_as_recorded(path: pathlib.Path) -> None:
    """Recorded Jobs and pods: a good end, a broken result, failures of each kind, and one that still runs."""
    case = yaml.safe_load(path.read_text())
    outcome = RUNNER.parse_job(case["job"], case["pods"])
    assert (outcome.to_json() if outcome is not None else None) == case["outcome"]


def test_a_recorded_result_is_one_line_of_json() -> None:
    """The golden message is what the runner writes."""
    case = ended("ended-complete")
    message = case["pods"][0]["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
    assert results.to_message(results.from_message(message)) == message
    assert json.loads(message)["n"] == 100


def test_registries_and_the_api_name_the_same_things() -> None:
    """A runner or scorer that the API admits is one that exists, and the reverse."""
    assert set(registry.RUNNERS) == set(typing.get_args(evalgate.Runner.model_fields["type"].annotation))
    assert set(scorers.SCORERS) == set(typing.get_args(evalgate.Scorer.model_fields["type"].annotation))


def test_unknown_names_are_errors() -> None:
    """Never another runner or scorer in their place."""
    with pytest.raises(registry.UnknownRunnerError, match="known are Builtin"):
        registry.runner("Magic")
    with pytest.raises(scorers.UnknownScorerError, match="known are ExactMatch"):
        scorers.scorer("Vibes")


@pytest.mark.parametrize(
    ("answer", "expected", "reason"),
    [
        ("Paris", True, "equal"),
        (" Paris\n", True, "white space at the ends aside"),
        ("paris", False, "case counts"),
        ("Paris.", False, "so does punctuation"),
        ("", False, "no answer is wrong"),
    ],
)
def test_exact_match(answer: str, expected: bool, reason: str) -> None:
    """The answer equals the reference."""
    assert scorers.scorer("ExactMatch").is_right(answer, "Paris ") is expected, reason
