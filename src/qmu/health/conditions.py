"""What is wrong with how a member learns: its options, its exploration, its world's numbers."""

import math

import numpy as np

from qmu import config as options
from qmu.agent.exploration import scales
from qmu.config import heads
from qmu.config.ratio import ratio_words, unusual
from qmu.health.chart import CERTAIN, LIKELY, POSSIBLE, RECENT, Chart, Finding
from qmu.wording import counted

# Of an episode without a limit, so many steps are thought of.
MANY = 10_000
# Adam moves each weight by about its rate per update; the recipes have 1e-4 to 1e-3.
LARGE_RATE = 0.01

COSTS = (
    "eval/mean_reward",
    "eval/mean_ep_length",
    "rollout/ep_rew_mean",
    "health/preactivation",
)
BOTH = ("eval/mean_reward", "rollout/ep_rew_mean")


def noise(chart: Chart) -> Finding | None:
    """Exploration against the range of actions."""
    explore = chart.config.explore
    others = explore.parameter_distance is not None or explore.epsilon > 0
    std = reached(chart)
    sizes = "--explore.std" if explore.std_last is None else "--explore.std and --explore.std-last"
    if std < 0.02 and not others:
        return Finding(
            "Hardly any exploration",
            f"The noise is {std:.2g} of half the action range",
            "After the random steps nothing new is tried, which some worlds forgive",
            POSSIBLE,
            f"{sizes} 0.1 or 0.2, or --explore.parameter-distance 0.2",
        )
    # How often the noise alone is beyond a bound.
    share = math.erfc(1 / (std * 2**0.5)) if std else 0.0
    if share > 1 / 3:
        return Finding(
            "More noise than action",
            f"The noise reaches {std:.2g} of half the action range: of an actor that says 0, "
            f"{share:.0%} of the actions are at a bound",
            "What is tried has little to do with what the actor says",
            LIKELY,
            f"{sizes} 0.1 or 0.2",
        )
    return None


def reached(chart: Chart) -> float:
    """Return the noise's standard deviation, in half action ranges: its root mean square.

    It is taken over all worlds, too, where their noises differ.

    Ornstein-Uhlenbeck noise begins each episode at its mean, and after k steps it has the variance
    std² dt (1 - r^2k) / (1 - r²), r = 1 - θ dt: it is averaged over an episode as long as the last
    ones have been, or else as long as one can be.
    """
    explore, worlds = chart.config.explore, chart.config.env.count
    if explore.noise == "none":
        return 0.0
    std = float(np.sqrt(np.mean(np.square(scales(explore, range(worlds), worlds)))))
    if explore.noise in ("normal", "colored"):
        return std
    length = chart.recent("rollout/ep_len_mean", least=1)
    steps = int(length) if length >= 1 else min(chart.limit or MANY, MANY)
    # Where a step takes back more than twice what there is, it grows without bound.
    keep = min((1 - explore.ou_theta * explore.ou_dt) ** 2, 1.0)
    powers = keep ** np.arange(steps)
    # The variance after k steps is the sum of the first k powers.
    return std * float(np.sqrt(explore.ou_dt * np.mean(np.cumsum(powers))))


def no_reward(chart: Chart) -> Finding | None:
    """Rewards that never change: there is nothing to climb."""
    spreads, means = chart.all("health/reward_std"), chart.all("health/reward_mean")
    # Whatever their scale, rewards that are the same differ by rounding at most.
    size = max(map(abs, means), default=0.0)
    if len(spreads) < RECENT or max(spreads) > 1e-6 * size:
        return None
    mean = chart.recent("health/reward_mean")
    return Finding(
        "No reward was found",
        f"Every reward that was seen is the same ({mean:.3g} per update)",
        "No action is better than another, as far as anybody knows",
        CERTAIN,
        "more --explore.start-steps, --explore.noise ou --explore.std 0.5, "
        "--explore.parameter-distance 0.5; or a reward on the way to the goal",
        serious=True,
        explains=OF_SAME_REWARDS,
    )


def only_costs(chart: Chart) -> Finding | None:
    """Acting was only ever seen to cost, so the actor has learned to do nothing.

    It stands still (its tanh is given about 0 whatever is observed), each episode goes on to its
    limit, and that costs next to nothing, while random actions and noise cost something. Nothing
    above 0 comes in.
    """
    alone, noisy = chart.recent("eval/mean_reward"), chart.recent("rollout/ep_rew_mean")
    size, lengths = chart.recent("health/preactivation"), chart.all("eval/mean_ep_length")
    if not (size < 0.3 and noisy <= alone <= 0):
        return None
    dearest = min(chart.all("rollout/ep_rew_mean"))
    if not (min(lengths[-RECENT:]) == max(lengths) and alone > 0.1 * dearest):
        return None
    return Finding(
        "The actor stands still",
        f"Its actions are about {np.tanh(size):.2g} of half the range, evaluations end at the time "
        f"limit ({lengths[-1]:.0f} steps) with returns of {alone:.2g}, and with noise they are "
        f"{noisy:.2g}",
        "Acting costs, and what it is for was never found, or too seldom: nothing costs least. "
        "Where standing still is best, this is no fault",
        LIKELY,
        "--explore.noise ou --explore.std 0.5, --explore.parameter-distance 0.5, more "
        "--explore.start-steps; or a reward on the way to the goal",
        serious=True,
    )


# Of so many steps that a simulation begins anew by itself is not by chance.
MANY_BREAKDOWNS = 0.01
BEGINS_ANEW = "The simulation begins anew by itself"


def breaks_down(chart: Chart) -> Finding | None:
    """Simulations that begin anew by themselves inside of a step."""
    training = max(chart.all("rollout/breakdowns"), default=0)
    alone = sum(chart.all("eval/breakdowns"))
    if not (training or alone):
        return None
    # The lines of evaluations count nothing of training.
    steps = chart.newest.get("rollout/episodes", 0)
    share = training / max(steps, 1)
    evaluated = f"of {counted(int(alone), 'step')} in evaluations"
    seen = (
        f"of {training:,.0f} of the first {steps:,} steps of training ({share:.2g} of them), and "
        f"{evaluated}"
        if steps
        else f"{evaluated} (no line counts those of training: a smaller --log.interval)"
    )
    return Finding(
        BEGINS_ANEW,
        f"MuJoCo did that inside {seen}; the run's messages say why",
        "Such a step leads from a state that has broken down to a start. In training that is "
        "learned, in an evaluation it is scored; what it rewards is no merit",
        CERTAIN,
        "weaker actuators (gear), a shorter timestep or more damping in the model, an episode that "
        "ends before the state is out of bounds; `qmu check` counts such steps with random actions",
        serious=share > MANY_BREAKDOWNS,
    )


def no_updates(chart: Chart) -> Finding | None:
    """A run that collects rows and learns nothing from them."""
    if chart.config.train.updates_per_step > 0:
        return None
    return Finding(
        "Nothing was learned",
        "--train.updates-per-step is 0",
        "The actor stays what it was at the beginning",
        CERTAIN,
        "--train.updates-per-step 1",
    )


def large_rates(chart: Chart) -> Finding | None:
    """Learning rates far beyond those of any recipe."""
    rates = {"actor": chart.config.actor, "critic": chart.config.critic}
    large = {
        name: own.lr
        for name, own in rates.items()
        if own.optimizer != "sgd" and own.lr > LARGE_RATE
    }
    if not large:
        return None
    return Finding(
        "Large learning rates",
        " and ".join(f"--{name}.lr is {rate:g}" for name, rate in large.items()),
        "Adam moves every weight by about that much per update, and weights are below 1",
        LIKELY,
        " ".join(f"--{name}.lr 1e-3" for name in large) + " or less",
    )


def fast_targets(chart: Chart) -> Finding | None:
    """Targets that are the networks themselves."""
    pace = chart.config.target.tau / chart.config.target.interval
    if pace < 0.1:
        return None
    return Finding(
        "Targets move too fast",
        f"They take over {pace:.0%} of the networks per update",
        "The critic chases its own values",
        LIKELY,
        "--target.tau 0.005, or --target.tau 1 --target.interval 100 and more",
    )


def few_start_steps(chart: Chart) -> Finding | None:
    """Learning from hardly any data: seeds die of it."""
    first = options.learn_after(chart.config)
    if first >= 200:
        return None
    return Finding(
        "Few random steps",
        f"Learning begins after {first} steps",
        "An actor that climbs a critic of so few rows may end at a bound for good",
        POSSIBLE,
        "--explore.start-steps 1000 or more",
    )


def small_replay(chart: Chart) -> Finding | None:
    """A stream that forgets most of the run."""
    capacity, total = chart.config.replay.capacity, options.total_steps(chart.config)
    if total == options.UNLIMITED_STEPS:
        total = chart.steps
    if capacity >= min(total, 1_000_000) / 5 or capacity >= 100_000:
        return None
    return Finding(
        "The replay is small",
        f"It holds {capacity:,} of {total:,} steps",
        "What was learned of older states is forgotten with them",
        LIKELY,
        "a larger --replay.capacity",
    )


def replay_ratio(chart: Chart) -> Finding | None:
    """How often a row is learned from, against what recipes do."""
    told = unusual(chart.config)
    if told is None:
        return None
    meaning, advice = told
    return Finding("An unusual replay ratio", ratio_words(chart.config), meaning, POSSIBLE, advice)


def scales_of_observations(chart: Chart) -> Finding | None:
    """Observations whose numbers are of very different sizes, or all far from 1."""
    small = chart.recent("health/obs_smallest", least=1)
    large = chart.recent("health/obs_largest", least=1)
    offset = chart.recent("health/obs_offset", least=1)
    spreads = f"The standard deviations of their numbers go from {small:.2g} to {large:.2g}"
    if large > 100 * small > 0:
        return Finding(
            "Observations of very different scales",
            spreads,
            "The largest drown the others",
            LIKELY,
            "--env.normalize-obs",
        )
    if chart.config.env.normalize_obs:
        return None
    if large > 100:
        name, meaning = "Large observations", "Units and actions are driven to their bounds by them"
        explains = OF_LARGE_OBSERVATIONS
    elif 0 < large < 0.1:
        name, meaning = "Small observations", "The networks hardly tell one from the other"
        explains = OF_SAME_OBSERVATIONS
    elif offset > 20 * max(large, 1):
        name, meaning = "Observations far from 0", "What they differ by is lost in what they share"
        spreads += f", and the mean of one is {offset:.3g} from 0"
        explains = OF_SAME_OBSERVATIONS
    else:
        return None
    return Finding(
        name,
        spreads,
        f"{meaning}: networks are made for numbers of about 1",
        LIKELY,
        "--env.normalize-obs",
        serious=not 0.05 < large < 1e3 or offset > 100,
        explains=explains,
    )


# What else is seen where observations are large, or nearly the same: no faults of their own.
OF_LARGE_OBSERVATIONS = ("Saturated actor", "Exploding gradients", "Dead units")
OF_SAME_OBSERVATIONS = ("Dead units", "Vanishing gradients", "The critic predicts nothing")
# What an offset of rewards leads to, and what rewards that are all the same.
OF_OFFSETS = (
    "Large rewards",
    "The critic predicts nothing",
    "Exploding gradients",
    "Values in a single bin",
)
OF_SAME_REWARDS = ("Values in a single bin",)


def offset_of_rewards(chart: Chart) -> Finding | None:
    """Rewards that have much more in common than they differ by."""
    mean = chart.recent("health/step_reward_mean", least=1)
    spread = chart.recent("health/step_reward_std", least=1)
    scale = chart.config.env.reward_scale
    shared, own = abs(mean) * scale, spread * scale
    if not shared > max(20, 10 * own):
        return None
    return Finding(
        "Rewards with an offset",
        f"In evaluations they are {mean:.4g} a step, and differ by {spread:.2g}",
        "Values are sums of what rewards share, and what an action changes is lost in them; a "
        "smaller scale makes it smaller still",
        LIKELY,
        f"to take {mean:.2g} from every reward, in the environment or in a wrapper "
        "(--env.wrappers), if episodes are of one length: where they end early, living is worth "
        "less then",
        serious=shared > max(100, 20 * own),
        explains=OF_OFFSETS,
    )


# Rewards below this are nothing beside what a new critic says, and what that looks like.
NOTHING = 1e-3
OF_NOTHING = (
    "Q overestimates",
    "Diverging Q",
    "The critic predicts nothing",
    "Vanishing gradients",
)


def scale_of_rewards(chart: Chart) -> Finding | None:
    """Rewards far from 1."""
    spread = chart.recent("health/reward_std", least=1)
    if heads.normalizes_rewards(chart.config.env, chart.config.critic):
        return None
    if 0 < spread < 0.005:
        wanted, size = 0.5, "Small"
    elif spread > 100:
        wanted, size = 1.0, "Large"
    else:
        return None
    return Finding(
        f"{size} rewards",
        f"Their standard deviation is {spread:.3g}, per window of {chart.config.replay.n_step}",
        "Learning rates and initial weights are made for values of about 1 to 100",
        LIKELY if spread < NOTHING else POSSIBLE,
        f"--env.reward-scale {wanted * chart.config.env.reward_scale / spread:.0g}, or "
        "--env.normalize-rewards",
        serious=spread < NOTHING,
        explains=OF_NOTHING if spread < NOTHING else (),
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
        "Worse without noise",
        f"Evaluations are {apart:.3g} below the training's returns",
        "The noise does part of the work: the actor alone stands still, or stays at a bound",
        LIKELY,
        "less --explore.std towards the end (--explore.noise-end 0.1), a longer training",
    )


def cut_off(chart: Chart) -> Finding | None:
    """Episodes that the run's own limits end, and nothing else."""
    limit = chart.config.env.actions(chart.config.env.episode_length)
    lengths = chart.all("rollout/ep_len_mean")
    if not limit or chart.longest is None or limit >= chart.longest:
        return None
    if len(lengths) < RECENT or min(lengths[-RECENT:]) < limit:
        return None
    return Finding(
        "Episodes end by the time limit only",
        f"All have {limit} steps, and the environment's own limit is {chart.longest}",
        "States that come later are never seen",
        CERTAIN,
        "a longer --env.episode-length, or none",
    )


# A world whose steps are shorter than this is no machine in real time, in seconds; gaps of more of
# its steps than this are told.
IN_REAL_TIME, MOST_STEPS = 0.001, 2


def left_alone(chart: Chart) -> Finding | None:
    """The only world waited for its next step for far longer than its own steps take."""
    gap = max(chart.all("time/longest_gap"), default=0.0)
    step = chart.recent("time/median_step", least=1)
    if not (step >= IN_REAL_TIME and gap > MOST_STEPS * step):
        return None
    return Finding(
        "The world was left alone",
        f"Inside of an episode it waited for its next step for {1000 * gap:.3g} ms once, and a "
        f"step takes {1000 * step:.3g} ms",
        "A world in real time went on meanwhile, with the action before; a simulation that waits "
        "is none the worse",
        POSSIBLE,
        "smaller networks, a smaller --replay.batch-size, a smaller --train.updates-per-step, a "
        "larger --train.chunk, nothing else on the machine",
    )
