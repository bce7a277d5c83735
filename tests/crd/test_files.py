"""Every file under accepted/ and examples/ is admitted as it stands; every one under rejected/ is refused in words that help.

A file's name is the rule that it shows. A rejected file says in its `# expect:` lines what the error must name: the field,
and what helps to mend it.
"""

from __future__ import annotations

import pathlib

import pytest
import yaml

from sluice.api import crdgen
from tests.support import controlplane

HERE = pathlib.Path(__file__).parent
ACCEPTED = sorted((HERE / "accepted").glob("*.yaml"))
REJECTED = sorted((HERE / "rejected").glob("*.yaml"))
EXAMPLES = sorted((HERE.parents[1] / "examples").glob("*.yaml"))
EXPECT = "# expect: "
TWO_MISTAKES = {
    # The backend of the wrong type names a provider, and there is none: two mistakes, two messages.
    "gateway-backend-has-the-member-of-its-type",
}
DRY_RUN = ("--dry-run=server", "--validate=strict")


@pytest.mark.parametrize("path", [*ACCEPTED, *EXAMPLES], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_is_accepted(cluster: controlplane.ControlPlane, path: pathlib.Path) -> None:
    """Without a warning: a field that was pruned would warn."""
    done = cluster.kubectl("create", *DRY_RUN, "-f", str(path), check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", REJECTED, ids=lambda path: path.stem)
def test_is_rejected(cluster: controlplane.ControlPlane, path: pathlib.Path) -> None:
    """By the rule that its name states and by no other, or it would still be refused when that rule is gone."""
    expected = [line.removeprefix(EXPECT) for line in path.read_text().splitlines() if line.startswith(EXPECT)]
    done = cluster.kubectl("create", *DRY_RUN, "-f", str(path), check=False)
    assert done.returncode != 0, "it was accepted"
    assert expected, "the file does not say what to expect"
    assert [part for part in expected if part not in done.stderr] == [], done.stderr
    field = expected[0].split(":")[0]
    errors = [line for line in done.stderr.splitlines() if line.startswith("* ") and not line.startswith("* <nil>")]
    assert path.stem in TWO_MISTAKES or [line for line in errors if field not in line] == [], done.stderr


@pytest.mark.parametrize("kind", crdgen.KINDS, ids=lambda kind: kind.kind)
def test_each_kind_has_cases(kind: crdgen.Kind) -> None:
    """Both ways, so that a kind without rules, or with rules that refuse everything, is noticed."""
    for files in (ACCEPTED, REJECTED):
        kinds = [yaml.safe_load(path.read_text())["kind"] for path in files]
        assert kind.kind in kinds
