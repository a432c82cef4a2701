"""What the metrics say about the patient: what goes wrong in DDPG, and which option to try.

Each rule looks at what a member has logged and says nothing, or what it found. They were set on
runs that were made to have the disease, and on healthy ones (tests/training/test_health.py).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from qmu import config as options
from qmu.config import Config

Lines = Sequence[Mapping[str, Any]]

# A verdict is about the last so many lines of metrics, or evaluations.
RECENT = 5


class Finding(NamedTuple):
    """Something that is wrong: what was seen, what it means, how sure that is, what to try."""

    name: str
    seen: str
    meaning: str
    sure: str
    advice: str
    serious: bool = False


class Chart(NamedTuple):
    """What is known of a member: its options, and what it has logged, oldest first."""

    config: Config
    lines: Lines
    longest: int | None

    def all(self, name: str) -> list[float]:
        """Return all values of a metric."""
        return [float(line[name]) for line in self.lines if line.get(name) is not None]

    def recent(self, name: str) -> float:
        """Return the mean of a metric's last values; NaN where there are too few."""
        values = self.all(name)[-RECENT:]
        return float(np.mean(values)) if len(values) == RECENT else float("nan")


Rule = Callable[[Chart], Finding | None]
CERTAIN, LIKELY, POSSIBLE = "certain", "likely", "possible"


def saturated_actor(chart: Chart) -> Finding | None:
    """Actions at their bounds: the final tanh passes no gradient on (Matheron et al. 2019)."""
    share, size = chart.recent("health/saturated"), chart.recent("health/preactivation")
    if not (share > 0.8 and size > 4):
        return None
    return Finding(
        "saturated actor",
        f"{share:.0%} of all actions are beyond 0.97; what the final tanh is given is {size:.1f}",
        "at the bounds tanh has no slope: an actor that is wrong there hardly ever comes back",
        LIKELY if share < 0.95 else CERTAIN,
        "--actor.preactivation-penalty 0.01 or more, --actor.lr 3e-4, --critic.norm layer, more "
        "--explore.start-steps. Where the best policy pushes to the bounds, it is none",
        serious=share > 0.95 and size > 8,
    )


def dead_units(chart: Chart) -> Finding | None:
    """Hidden units that say the same whatever is observed."""
    for name in ("actor", "critic"):
        share = chart.recent(f"health/dead_{name}")
        if share > 0.5:
            return Finding(
                "dead units",
                f"{share:.0%} of the {name}'s hidden units say the same for every observation",
                "they have stopped to learn, and what is left is a smaller network",
                CERTAIN,
                f"a lower --{name}.lr, --{name}.norm layer, --{name}.activation leaky_relu or elu",
                serious=share > 0.9,
            )
    return None


def overestimation(chart: Chart) -> Finding | None:
    """Q above the returns that came (Fujimoto et al. 2018, section 4)."""
    bias, mean = chart.recent("health/q_bias"), chart.recent("health/return_mean")
    scale = abs(mean) + chart.recent("health/return_std")
    if not bias > 0.5 * scale:
        return None
    return Finding(
        "Q overestimates",
        f"Q(s, μ(s)) is {bias:.3g} above the discounted returns of the evaluations ({mean:.3g})",
        "the actor climbs errors of the critic instead of values",
        CERTAIN if bias > scale else LIKELY,
        "--critic.count 2, --target.smoothing-std 0.2, --critic.norm layer, a lower --critic.lr",
        serious=bias > 3 * scale,
    )


def diverging_values(chart: Chart) -> Finding | None:
    """Q beyond what any sequence of the rewards seen could be worth, and growing."""
    values = [abs(value) for value in chart.all("train/q_mean")]
    if len(values) < 2 * RECENT:
        return None
    gamma, steps = chart.config.target.gamma, chart.config.replay.n_step
    reward = abs(chart.recent("health/reward_mean")) + 3 * chart.recent("health/reward_std")
    # The reward of a window is that of up to n steps.
    bound = reward / (1 - gamma**steps) if gamma < 1 else float("inf")
    now, before = float(np.mean(values[-RECENT:])), float(np.mean(values[-2 * RECENT : -RECENT]))
    if not (now > 2 * bound and now > 1.2 * before):
        return None
    return Finding(
        "diverging Q",
        f"the mean |Q| is {now:.3g} and grows; the rewards seen are worth {bound:.3g} at most",
        "each target is made of a value that is too large already",
        CERTAIN,
        "--critic.count 2, --critic.norm layer, a lower --critic.lr and --target.tau, "
        "--critic.clip-norm 1",
        serious=True,
    )


def critic_predicts_nothing(chart: Chart) -> Finding | None:
    """The TD error against what there is to predict."""
    loss, spread = chart.recent("train/critic_loss"), chart.recent("health/q_std")
    reward = chart.recent("health/reward_std")
    error = float(np.sqrt(loss)) if loss >= 0 else float("nan")
    if not error > 3 * max(spread, reward):
        return None
    return Finding(
        "the critic predicts nothing",
        f"its error is {error:.3g}, its values differ by {spread:.3g}, the rewards by {reward:.3g}",
        "what it says of an action is noise",
        LIKELY,
        "a lower --critic.lr, a larger --replay.batch-size, --env.reward-scale so that rewards are "
        "about 1, --target.tau 0.005 or less",
    )


def gradients(chart: Chart) -> Finding | None:
    """Gradients that explode or vanish."""
    for name in ("critic", "actor"):
        length = chart.recent(f"health/{name}_gradient")
        if length > 1e6:
            return Finding(
                "exploding gradients",
                f"the {name}'s gradient is {length:.3g} long",
                "single batches throw the network about",
                LIKELY,
                f"--{name}.clip-norm 1, a smaller --env.reward-scale",
                serious=length > 1e12,
            )
        if length < 1e-7:
            return Finding(
                "vanishing gradients",
                f"the {name}'s gradient is {length:.3g} long",
                f"the {name} does not learn any more",
                LIKELY,
                "a larger --env.reward-scale; for the actor --actor.preactivation-penalty 0.01",
            )
    return None


def noise(chart: Chart) -> Finding | None:
    """Exploration against the range of actions."""
    explore = chart.config.explore
    others = explore.parameter_distance is not None or explore.epsilon > 0
    std = 0.0 if explore.noise == "none" else explore.std
    if explore.noise == "ou":
        # What it grows to, and not the size of its pushes.
        std = explore.std / float(np.sqrt(2 * max(explore.ou_theta, 1e-9)))
    if std < 0.02 and not others:
        return Finding(
            "hardly any exploration",
            f"the noise is {std:.2g} of half the action range",
            "after the random steps nothing new is tried",
            LIKELY,
            "--explore.std 0.1 or 0.2, or --explore.parameter-distance 0.2",
        )
    if std > 0.8:
        return Finding(
            "more noise than action",
            f"the noise is {std:.2g} of half the action range",
            "most actions are at a bound whatever the actor says, and it is never seen alone",
            LIKELY,
            "--explore.std 0.1 or 0.2",
        )
    return None


def no_reward(chart: Chart) -> Finding | None:
    """Rewards that never change: there is nothing to climb."""
    spreads = chart.all("health/reward_std")
    if len(spreads) < RECENT or max(spreads) > 1e-6 * chart.config.env.reward_scale:
        return None
    mean = chart.recent("health/reward_mean")
    return Finding(
        "no reward was found",
        f"every reward that was seen is the same ({mean:.3g} per update)",
        "no action is better than another, as far as anybody knows",
        CERTAIN,
        "more --explore.start-steps, --explore.noise ou --explore.std 0.5, "
        "--explore.parameter-distance 0.5; or a reward on the way to the goal",
        serious=True,
    )


def fast_targets(chart: Chart) -> Finding | None:
    """Targets that are the networks themselves."""
    pace = chart.config.target.tau / chart.config.target.interval
    if pace < 0.1:
        return None
    return Finding(
        "targets move too fast",
        f"they take over {pace:.0%} of the networks per update",
        "the critic chases its own values",
        LIKELY,
        "--target.tau 0.005, or --target.tau 1 --target.interval 100 and more",
    )


def few_start_steps(chart: Chart) -> Finding | None:
    """Learning from hardly any data: seeds die of it."""
    first = options.learn_after(chart.config)
    if first >= 200:
        return None
    return Finding(
        "few random steps",
        f"learning begins after {first} steps",
        "an actor that climbs a critic of so few rows may end at a bound for good",
        POSSIBLE,
        "--explore.start-steps 1000 or more",
    )


def small_replay(chart: Chart) -> Finding | None:
    """A stream that forgets most of the run."""
    capacity, total = chart.config.replay.capacity, options.total_steps(chart.config)
    if capacity >= min(total, 1_000_000) / 5 or capacity >= 100_000:
        return None
    return Finding(
        "the replay is small",
        f"it holds {capacity:,} of {total:,} steps",
        "what was learned of older states is forgotten with them",
        LIKELY,
        "a larger --replay.capacity",
    )


def scales_of_observations(chart: Chart) -> Finding | None:
    """Observations whose numbers are of very different sizes."""
    small, large = chart.recent("health/obs_smallest"), chart.recent("health/obs_largest")
    if not large > 100 * small > 0:
        return None
    return Finding(
        "observations of very different scales",
        f"the standard deviations of their numbers go from {small:.2g} to {large:.2g}",
        "the largest drown the others",
        LIKELY,
        "--env.normalize-obs",
    )


def scale_of_rewards(chart: Chart) -> Finding | None:
    """Rewards far from 1."""
    spread = chart.recent("health/reward_std")
    if 0 < spread < 0.005:
        advice, size = f"--env.reward-scale {0.5 / spread:.0g}", "small"
    elif spread > 100:
        advice, size = f"--env.reward-scale {1 / spread:.0g}", "large"
    else:
        return None
    return Finding(
        f"{size} rewards",
        f"their standard deviation is {spread:.3g}, per window of {chart.config.replay.n_step}",
        "learning rates and initial weights are made for values of about 1 to 100",
        POSSIBLE,
        advice,
    )


def worse_in_evaluation(chart: Chart) -> Finding | None:
    """The policy alone does worse than the policy with noise."""
    alone, noisy = chart.all("eval/mean_reward"), chart.all("rollout/ep_rew_mean")
    if len(alone) < RECENT or len(noisy) < RECENT:
        return None
    spread = max(float(np.std(alone[-2 * RECENT :])), chart.recent("eval/std_reward"))
    apart = float(np.mean(noisy[-RECENT:]) - np.mean(alone[-RECENT:]))
    if not apart > max(2 * spread, 0.5 * abs(float(np.mean(noisy[-RECENT:])))):
        return None
    return Finding(
        "worse without noise",
        f"evaluations are {apart:.3g} below the training's returns",
        "the noise does part of the work: the actor alone stands still, or stays at a bound",
        LIKELY,
        "less --explore.std towards the end (--explore.noise-end 0.1), a longer training",
    )


def cut_off(chart: Chart) -> Finding | None:
    """Episodes that the run's own limits end, and nothing else."""
    limit = chart.config.env.episode_length
    lengths = chart.all("rollout/ep_len_mean")
    if limit is None or chart.longest is None or limit >= chart.longest:
        return None
    if len(lengths) < RECENT or min(lengths[-RECENT:]) < limit:
        return None
    return Finding(
        "episodes end by the time limit only",
        f"all have {limit} steps, and the environment's own limit is {chart.longest}",
        "states that come later are never seen",
        CERTAIN,
        "a longer --env.episode-length, or none",
    )


RULES: tuple[Rule, ...] = (
    no_reward,
    diverging_values,
    overestimation,
    saturated_actor,
    dead_units,
    critic_predicts_nothing,
    gradients,
    noise,
    fast_targets,
    few_start_steps,
    small_replay,
    scales_of_observations,
    scale_of_rewards,
    worse_in_evaluation,
    cut_off,
)


def examine(chart: Chart) -> list[Finding]:
    """Return what is wrong with a member, what is serious first."""
    found = [finding for rule in RULES for finding in [rule(chart)] if finding is not None]
    return sorted(found, key=lambda finding: not finding.serious)


def seeds_disagree(charts: Sequence[Chart]) -> Finding | None:
    """Seeds of one arm that have come to very different ends."""
    ends = [chart.recent("eval/mean_reward") for chart in charts]
    firsts = [values[0] for chart in charts if (values := chart.all("eval/mean_reward"))]
    if len(ends) < 2 or not np.isfinite(ends).all():
        return None
    gained = max(ends) - float(np.mean(firsts))
    apart = max(ends) - min(ends)
    if not (gained > 0 and apart > 0.5 * gained):
        return None
    return Finding(
        "seeds disagree",
        f"the best ends at {max(ends):.4g}, the worst at {min(ends):.4g}",
        "what a single seed says of this recipe is chance",
        CERTAIN,
        "more --seeds; more --explore.start-steps, --critic.norm layer, --critic.count 2, lower "
        "learning rates",
    )
