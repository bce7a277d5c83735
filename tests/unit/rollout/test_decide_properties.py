"""The rollout in a world where anything may happen in any order: what must hold always, and how it must end."""

from __future__ import annotations

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from sluice.api import commands
from sluice.rollout import model
from sluice.rollout import traffic as rollout_traffic
from tests.unit.rollout import world as world_

Quality = world_.Quality
NAMES = {"a": Quality.GOOD, "b": Quality.GOOD, "c": Quality.FAILS_USERS, "d": Quality.WRONG_ANSWERS, "e": Quality.CRASHES}


class Rollouts(stateful.RuleBasedStateMachine):
    """Each rule is something that happens; the world itself asserts what must hold at every action."""

    @stateful.initialize(
        split=st.sampled_from([model.Split.CONNECTED, model.Split.CONNECTED, model.Split.NONE]),
        name=st.sampled_from(["a", "b", "b", "b", "c", "d", "e"]),
        rounds=st.integers(0, 24),
        recreate=st.sampled_from([False, False, False, True]),
    )
    def begin(self, split: model.Split, name: str, rounds: int, recreate: bool) -> None:
        """A world with nothing, or with a revision that serves and perhaps one somewhere in its rollout."""
        self.world = world_.World(split=split, recreate=recreate)
        self.gateway = split
        self.world.apply_spec("a", NAMES["a"])
        self.world.run(12 if name != "a" else 0)
        self.world.apply_spec(name, NAMES[name])
        self.world.run(rounds)

    @stateful.rule(name=st.sampled_from(sorted(NAMES)))
    def change_spec(self, name: str) -> None:
        """The user asks for a new revision, or for one that was there before."""
        self.world.apply_spec(name, NAMES[name])

    @stateful.rule(times=st.integers(1, 3))
    def reconcile(self, times: int) -> None:
        """A wake-up, a repeated one."""
        for _ in range(times):
            self.world.reconcile()

    @stateful.rule(rounds=st.integers(1, 6))
    def go_on(self, rounds: int) -> None:
        """Nothing goes wrong for a while."""
        self.world.run(rounds)

    @stateful.rule()
    def sync(self) -> None:
        """The watch catches up."""
        self.world.sync()

    @stateful.rule(proxy=st.integers(0, world_.PROXIES - 1))
    def acknowledge(self, proxy: int) -> None:
        """One proxy, not all."""
        self.world.acknowledge(proxy)

    @stateful.rule()
    def pods_move(self) -> None:
        """Pods become ready."""
        self.world.pods_move()

    @stateful.rule(left=st.integers(0, world_.DESIRED - 1), stable=st.booleans())
    def lose_pods(self, left: int, stable: bool) -> None:
        """A node goes, or the cluster is full."""
        serving = model.stable_revision(self.world.known())
        name = serving.hash if stable and serving is not None else self.world.wanted
        assert name is not None
        self.world.lose_pods(name, left)
        self.world.reconcile()

    @stateful.rule()
    def heal(self) -> None:
        """There is room again."""
        for known in self.world.revisions.values():
            known.lost = False

    @stateful.rule()
    def observe(self) -> None:
        """A second of traffic."""
        self.world.observe()

    @stateful.rule()
    def finish_jobs(self) -> None:
        """Evals end."""
        self.world.finish_jobs()

    @stateful.rule(seconds=st.sampled_from([0.5, 10, 3600, -30, -86400]))
    def clock(self, seconds: float) -> None:
        """Time passes, or the clock is set."""
        self.world.now += seconds

    @stateful.rule()
    def restart(self) -> None:
        """kill -9 of the leader between two reconciles."""
        self.world.restart()

    @stateful.rule(after=st.integers(0, 5))
    def crash_in_reconcile(self, after: int) -> None:
        """kill -9 of the leader after so many actions of one."""
        self.world.crash_after = after
        self.world.reconcile()
        self.world.crash_after = None

    @stateful.rule(up=st.booleans())
    def api(self, up: bool) -> None:
        """The API server stops or is back."""
        self.world.api_up = up
        self.world.run(4)

    @stateful.rule(works=st.booleans())
    def source(self, works: bool) -> None:
        """The counters cannot be read, or can again."""
        self.world.source_ok = works
        self.world.reconcile()

    @stateful.rule(verb=st.sampled_from(sorted(set(commands.Verb) - {commands.Verb.UNDO, commands.Verb.RERENDER})))
    def order(self, verb: commands.Verb) -> None:
        """A person orders something."""
        self.world.command(verb)
        self.world.reconcile()

    @stateful.rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        """spec.paused is set or unset."""
        self.world.paused = paused

    @stateful.rule(there=st.booleans())
    def gateway_comes_and_goes(self, there: bool) -> None:
        """The Gateway stops accepting the model for a while."""
        if self.gateway is model.Split.CONNECTED:
            self.world.split = self.gateway if there else model.Split.UNAVAILABLE

    @stateful.precondition(lambda self: self.world.api_up)
    @stateful.rule()
    def lose_status(self) -> None:
        """Somebody wipes the status."""
        self.world.wipe_status()

    def teardown(self) -> None:
        """Once everything works again, every story ends: promoted, or at weight 0."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.api_up, world.source_ok, world.split, world.crash_after = True, True, self.gateway, None
        world.paused, world.order, world.resumes = False, None, True
        self.heal()
        world.come_to_rest()
        stable = model.stable_revision(world.known())
        assert world.wanted is not None
        wanted = world.revisions[world.wanted]
        if wanted.quality is Quality.GOOD:
            promoted = stable is not None and stable.hash == world.wanted
            assert promoted or world.wanted in world.taken_back, "a good revision ends promoted, unless a person takes it back"
        elif stable is None or stable.hash != world.wanted:
            assert wanted.outcome is world_.Label.REJECTED, "a bad one ends rejected"
        serving = stable.hash if stable is not None else None
        assert world.status is None
        assert world.target is not None
        assert world.target.same_split(rollout_traffic.Traffic(serving)), "all traffic at the stable revision"
        assert {name for name, known in world.revisions.items() if known.deployed} == {serving} - {None}
        labels = [known.outcome for known in world.revisions.values()]
        assert labels.count(world_.Label.STABLE) == (serving is not None)
        assert world_.Label.CANDIDATE not in labels


def test_a_good_revision_is_loaded_once() -> None:
    """Over a whole rollout as many pods are made as serve in the end, and the former ones stay until then."""
    world = world_.World()
    world.apply_spec("a")
    world.come_to_rest()
    world.created = 0
    world.apply_spec("b")
    sizes = []
    for _ in range(60):
        world.run(1)
        sizes.append((world.revisions["b"].size, world.revisions["a"].size))

    assert world.created == world_.DESIRED
    assert sorted(set(sizes)) == [(1, 4), (2, 4), (4, 0), (4, 4)]


Rollouts.TestCase.settings = hypothesis.settings(max_examples=200, stateful_step_count=30, deadline=None)
TestRollouts = Rollouts.TestCase
