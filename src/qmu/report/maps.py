"""Maps of what a run has learned: μ(s) and Q(s, μ(s)) over observations of two or three numbers."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from qmu.agent import update as algorithm
from qmu.agent.update import Agent
from qmu.collecting.evaluate import Trace, evaluate
from qmu.errors import ConfigError, WorldError
from qmu.learning.handover import to_networks
from qmu.learning.learner import best_values
from qmu.learning.statistics import with_deviations
from qmu.records.directory import CHECKPOINTS
from qmu.report.pictures import svg
from qmu.runs.results import EVAL_SEEDS, Run
from qmu.saving import arrays, store
from qmu.saving.arrays import UnreadableError
from qmu.saving.storage import DamagedError
from qmu.study.results import Outcome
from qmu.world.declared import layout_in
from qmu.world.hearing import stepping
from qmu.world.make import maker_of

MOST_NUMBERS = 3
# Points along each side of a grid; episodes whose states are shown where there is no grid.
POINTS, EPISODES = 81, 10


def agents_of(run: Run) -> tuple[Agent, Any]:
    """Return the agents of a run's newest checkpoint, and the centre of what they observe.

    Raises:
        DamagedError: there is none that can be read.
    """
    folders = store.complete(run.directory / CHECKPOINTS)
    if not folders:
        raise DamagedError(f"{run.directory} has no checkpoint")
    saved = store.read_checkpoint(folders[0])
    spaces = saved.state["spaces"]
    action_size, layout = int(np.prod(spaces["action_shape"])), layout_in(spaces)
    fresh = [
        algorithm.init(jax.random.key(member.seed), layout, action_size, member.config)
        for member in run.members
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *fresh)
    (agents,) = arrays.like_groups("agents", with_deviations(saved.arrays), [stacked])
    return agents, saved.state.get("centre")


@stepping()
def maps(outcome: Outcome, world: str) -> str | None:
    """Return maps of an arm's best seed at the end of its run in a world, as SVG.

    None where observations have more than three numbers or several frames, or are remembered, where
    nothing can be read or made again, the world fails, or it is one that exists once, in which a
    report does not act.
    """
    run, seed = outcome.run, int(np.argmax(outcome.scores))
    names = [member.name for member in run.members]
    position = names.index(outcome.member_names[seed])
    if run.config.env.single:
        return None
    try:
        maker = maker_of(*run.world())
        layout = maker.spaces.layout
        if layout.numbers > MOST_NUMBERS or layout.frames > 1 or run.config.memory.used:
            return None
        agents, centre = agents_of(run)
        maker = maker if centre is None else maker.around(np.array(centre, np.float64))
        act = to_networks(algorithm.acting(agents), layout, maker.spaces.action_size)[position]
        obs, grid = states(maker, act)
    except (ConfigError, DamagedError, UnreadableError, WorldError, KeyError):
        return None
    quantities = {
        "μ(s), first action": act(obs)[:, 0],
        "Q(s, μ(s))": np.asarray(best_values(agents, position, obs)),
    }
    around = np.float32(0.0 if centre is None else centre)
    return draw(obs + around, grid, quantities, world)


def states(maker: Any, act: Any) -> tuple[NDArray[np.float32], bool]:
    """Return observations to look at [states, obs], and whether they are a grid.

    Of two numbers with bounds they are a grid; else they are those of some episodes.
    """
    worlds = maker.evaluation_worlds(EPISODES, False)
    try:
        space = worlds.environments[0].observation_space
        low, high = (np.ravel(side).astype(np.float32) for side in (space.low, space.high))
        if maker.spaces.obs_size == 2 and np.isfinite(high - low).all():
            sides = [np.linspace(low[axis], high[axis], POINTS) for axis in (0, 1)]
            places = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, 2)
            centre = maker.spaces.centre
            return (places - (0.0 if centre is None else centre)).astype(np.float32), True
        trace = Trace()
        evaluate(act, worlds, range(EVAL_SEEDS, EVAL_SEEDS + EPISODES), trace)
        return np.concatenate([np.stack(own) for own in trace.obs]), False
    finally:
        worlds.close()


def draw(obs: NDArray[np.float32], grid: bool, quantities: dict[str, Any], world: str) -> str:
    """Return a picture of each quantity, for each pair of the observation's numbers."""
    pairs = list(itertools.combinations(range(obs.shape[1]), 2)) or [(0, 0)]
    figure = Figure(figsize=(3.6 * len(pairs), 3.2 * len(quantities)), layout="constrained")
    # Below each other lie the same two numbers: their names stand once.
    panels = figure.subplots(len(quantities), len(pairs), squeeze=False, sharex="col")
    for axes, (first, _) in zip(panels[-1], pairs, strict=True):
        axes.set_xlabel(f"observation {first}")
    for row, (name, values) in zip(panels, quantities.items(), strict=True):
        for axes, (first, second) in zip(row, pairs, strict=True):
            place = obs[:, first], obs[:, second]
            if grid:
                shown = axes.pcolormesh(
                    *(one.reshape(POINTS, POINTS) for one in (*place, values)), rasterized=True
                )
            else:
                shown = axes.scatter(*place, c=values, s=4, linewidths=0, rasterized=True)
            axes.set_ylabel(f"observation {second}")
            axes.set_title(name, fontsize=10)
            figure.colorbar(shown, ax=axes)
    return svg(figure, f"maps-{world}")
