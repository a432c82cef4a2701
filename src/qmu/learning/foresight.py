"""What the episodes of an evaluation say of a critic and of the world's numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from qmu.collecting.evaluate import Trace
from qmu.layout import Layout, numbers_of, seen
from qmu.rows import Sequences, Timed

# Values are computed of so many states at once, so that one program serves all evaluations; and
# of so many episodes at most.
STATES, EPISODES = 2048, 256
# Of images, which take an encoder more time and room.
STATES_OF_IMAGES, EPISODES_OF_IMAGES = 256, 32
# Of returns that are less than this share their own, nothing can be said: b is divided by it.
LEAST_SHARE = 0.01


def overestimation(
    trace: Trace,
    values: Callable[[Any], Any],
    layout: Layout,
    gamma: float,
    reward_scale: float,
    steps: int | None = None,
) -> dict[str, float]:
    """Return how far Q(s, μ(s)) was above the discounted returns of an evaluation's episodes.

    A time limit cuts a return short that Q does not know of, so what would have come is taken from
    Q itself: the return from step t of T is G_t = Σ γ^i r_{t+i} + γ^(T-t) Q(s_T), without the last
    term after a termination. Of a Q that is too large by b everywhere, Q(s_t) - G_t is then only
    b (1 - γ^(T-t)); the sum over all states, divided by that of the brackets, is b.

    Args:
        trace: the evaluation.
        values: observations [states, obs] as networks see them to Q(s, μ(s)) [states], of rewards
            that were scaled.
        layout: of the observations in the trace.
        gamma: the discount.
        reward_scale: what rewards are multiplied with where they are learned from.
        steps: of a sequence, where networks have a memory: they see a state behind so many others
            of its episode as in learning, and `values` is given `Sequences`.

    Returns:
        `health/q_bias`: b; `health/return_mean`: the mean of Q(s_t, μ(s_t)) - b, which is the mean
        return without an end; `health/return_std`: the standard deviation of the returns G.
        Nothing, if the returns were nearly all Q itself: where γ is 1, or close to it, and a time
        limit ended the episodes.
    """
    dear = layout.images or steps is not None
    most, count = (STATES_OF_IMAGES, EPISODES_OF_IMAGES) if dear else (STATES, EPISODES)
    episodes = trace.rewards[:count]
    places = chosen([len(rewards) for rewards in episodes], most)
    ends = [(episode, len(own) - 1) for episode, own in enumerate(trace.obs[:count])]
    # So many that one program serves all evaluations.
    wanted = (places + ends + [ends[-1]] * most)[:most]
    if steps is None:
        found = values(frames_of(trace, layout, wanted))
    else:
        found = values(sequences_of(trace, layout, wanted, steps))
    found = np.asarray(found, np.float64)
    tails = found[len(places) : len(places) + len(ends)]
    returns = [
        discounted(np.array(rewards) * reward_scale, 0.0 if terminated else tail, gamma)
        for rewards, terminated, tail in zip(episodes, trace.terminated[:count], tails, strict=True)
    ]
    obtained = np.array([returns[episode][time] for episode, time in places])
    foreseen = found[: len(places)]
    shares = np.array(
        [
            1.0
            if trace.terminated[episode]
            else 1.0 - gamma ** (len(trace.rewards[episode]) - time)
            for episode, time in places
        ]
    )
    if np.mean(shares) < LEAST_SHARE:
        return {}
    bias = np.sum(foreseen - obtained) / np.sum(shares)
    return {
        "health/q_bias": float(bias),
        "health/return_mean": float(np.mean(foreseen) - bias),
        "health/return_std": float(np.std(obtained)),
    }


def frames_of(trace: Trace, layout: Layout, places: Sequence[tuple[int, int]]) -> Any:
    """Return what networks see of states (episode, time)."""
    return seen(layout, np.stack([frames_at(layout, trace.obs[one], time) for one, time in places]))


def sequences_of(
    trace: Trace, layout: Layout, places: Sequence[tuple[int, int]], steps: int
) -> Sequences:
    """Return sequences of so many steps that end with states (episode, time), which are asked for.

    What lies before an episode is its first observation, with which it begins.
    """
    nothing = np.zeros_like(trace.actions[0][0])
    obs, action, reward, begins = [], [], [], []
    for back in reversed(range(steps)):
        moments = [(one, time - back) for one, time in places]
        obs.append(frames_of(trace, layout, [(one, max(time, 0)) for one, time in moments]))
        action.append(
            [trace.actions[one][time - 1] if time > 0 else nothing for one, time in moments]
        )
        reward.append([trace.rewards[one][time - 1] if time > 0 else 0.0 for one, time in moments])
        begins.append([time <= 0 for _, time in moments])
    timed = Timed(
        jax.tree.map(lambda *own: np.stack(own), *obs),
        np.array(action, np.float32),
        np.array(reward, np.float32),
        np.array(begins),
    )
    asked = np.full((1, len(places)), steps - 1, np.int32)
    return Sequences(timed, asked=asked)


def frames_at(layout: Layout, rows: Sequence[NDArray[Any]], time: int) -> NDArray[Any]:
    """Return what is seen together at a time of an episode: a row, or rows [frames, size]."""
    if layout.frames == 1:
        return rows[time]
    return np.stack([rows[max(time - back, 0)] for back in reversed(range(layout.frames))])


def sizes(trace: Trace, layout: Layout) -> dict[str, float]:
    """Return of what size the rewards and observations of an evaluation's episodes were.

    Returns:
        `health/step_reward_mean`, `health/step_reward_std`: of the rewards of single steps;
        `health/obs_offset`: how far the mean of a number of the observation is from 0, of the
        number of which it is farthest; not where there are images alone.
    """
    rewards = np.concatenate(trace.rewards)
    found = {
        "health/step_reward_mean": float(rewards.mean()),
        "health/step_reward_std": float(rewards.std()),
    }
    if not layout.numbers:
        return found
    numbers = [numbers_of(layout, obs) for own in trace.obs for obs in own]
    means = np.mean(numbers, axis=0, dtype=np.float64)
    return found | {"health/obs_offset": float(np.abs(means).max())}


def chosen(lengths: list[int], most: int = STATES) -> list[tuple[int, int]]:
    """Return (episode, time) of states at equal distances over all episodes, not too many.

    With the last state of each episode they are `most` at most.
    """
    places = [(episode, time) for episode, length in enumerate(lengths) for time in range(length)]
    every = -(-len(places) // (most - len(lengths)))
    return places[::every]


def discounted(rewards: NDArray[np.float64], tail: float, gamma: float) -> NDArray[np.float64]:
    """Return the discounted return from each step on, with what comes after the last one."""
    returns = np.empty(len(rewards))
    rest = tail
    for time in range(len(rewards) - 1, -1, -1):
        rest = rewards[time] + gamma * rest
        returns[time] = rest
    return returns
