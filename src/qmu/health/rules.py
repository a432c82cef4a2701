"""What the metrics say about the patient: what goes wrong in DDPG, and which option to try.

Each rule looks at what a member has logged and says nothing, or what it found. They were set on
runs that were made to have the disease, and on healthy ones (tests/health/test_health.py). Those
about a member's options, its exploration and its world are in `conditions`.
"""

from collections.abc import Sequence

import numpy as np

from qmu.agent.heads import SUPPORT
from qmu.config import heads
from qmu.health import conditions
from qmu.health.advice import not_given
from qmu.health.chart import CERTAIN, LIKELY, POSSIBLE, RECENT, SURE, Chart, Finding, Rule


def saturated_actor(chart: Chart) -> Finding | None:
    """Actions at their bounds: the final tanh passes no gradient on (Matheron et al. 2019)."""
    share, size = chart.recent("health/saturated"), chart.recent("health/preactivation")
    if not (share > 0.8 and size > 4):
        return None
    return Finding(
        "Saturated actor",
        f"{share:.0%} of all actions are beyond 0.97; what the final tanh is given is {size:.1f}",
        "At the bounds tanh has no slope: an actor that is wrong there hardly ever comes back",
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
                "Dead units",
                f"{share:.0%} of the {name}'s hidden units say the same for every observation",
                "They have stopped to learn, and what is left is a smaller network",
                CERTAIN,
                f"a lower --{name}.lr, --{name}.norm layer, --{name}.activation leaky_relu or elu",
                serious=share > 0.9,
            )
    return None


def blind_encoder(chart: Chart) -> Finding | None:
    """Convolutions that see nothing, or features at the bounds of their tanh."""
    dead, saturated = chart.recent("health/dead_encoder"), chart.recent("health/saturated_features")
    if not (dead > 0.5 or saturated > 0.9):
        return None
    return Finding(
        "Blind encoder",
        f"{dead:.0%} of its convolutions' outputs are the same everywhere in all images, "
        f"{saturated:.0%} of its features are beyond 0.97",
        "What actor and critics are given hardly depends on the images, and the encoder has "
        "stopped to learn",
        CERTAIN if dead > 0.5 else LIKELY,
        "a lower --encoder.lr; `qmu check` says whether the images change at all",
        serious=dead > 0.9 or saturated > 0.99,
    )


def useless_memory(chart: Chart) -> Finding | None:
    """A memory that changes no action, or states at the bounds of their tanh."""
    used, saturated = chart.recent("health/memory_used"), chart.recent("health/saturated_memory")
    if saturated > 0.9:
        return Finding(
            "Saturated memory",
            f"{saturated:.0%} of what actor and critics remember is beyond 0.97",
            "A state at its bounds forgets nothing and takes nothing in",
            LIKELY,
            "a lower --memory.lr, --env.normalize-obs, --env.reward-scale where it is fed rewards",
            serious=saturated > 0.99,
        )
    if not used < 0.01:
        return None
    return Finding(
        "Ignored memory",
        f"With what is remembered of another moment, actions are {used:.2g} apart",
        "The policy acts on what it sees at the moment, and the memory costs time",
        POSSIBLE,
        "a longer --memory.sequence, --memory.start stored, a higher --memory.lr; or no memory "
        "(--memory.kind none), where nothing is hidden",
    )


def overestimation(chart: Chart) -> Finding | None:
    """Q above the returns that came (Fujimoto et al. 2018, section 4).

    A new critic says about 0, which is above returns that are negative. Values have come from n
    steps away when the targets have once followed, after 1 / tau updates, so those of the whole
    horizon 1 / (1 - gamma) take a time that can be foretold; until then only values far beyond
    what any critic begins with are said to be too large.
    """
    bias, mean = chart.recent("health/q_bias"), chart.recent("health/return_mean")
    target, steps = chart.config.target, chart.config.replay.n_step
    # As far as the returns differ, and as far as sums of the rewards that were seen would.
    chance = chart.recent("health/reward_std") / max(1 - target.gamma ** (2 * steps), 1e-3) ** 0.5
    scale = abs(mean) + chart.recent("health/return_std") + chance
    reach = chart.updates * target.tau / target.interval * steps
    learned = reach * (1 - target.gamma) >= 1
    if not bias > (0.5 if learned else 3) * scale:
        return None
    return Finding(
        "Q overestimates",
        f"Q(s, μ(s)) is {bias:.3g} above the discounted returns of the evaluations ({mean:.3g})",
        "The actor climbs errors of the critic instead of values",
        CERTAIN if learned and bias > scale else LIKELY,
        "--critic.count 2, --target.smoothing-std 0.2, --critic.norm layer, a lower --critic.lr",
        serious=bias > 3 * scale,
    )


# How many times what the rewards could be worth a Q is that has diverged, whether it grows or not.
FAR = 100
# What a new critic says is up to about this, in what rewards are learned as.
NEW = 1.0


def worth(chart: Chart) -> float:
    """Return what any sequence of the rewards that were seen lately could be worth."""
    gamma, steps = chart.config.target.gamma, chart.config.replay.n_step
    reward = abs(chart.recent("health/reward_mean")) + 3 * chart.recent("health/reward_std")
    # The reward of a window is that of up to n steps.
    return reward / (1 - gamma**steps) if gamma < 1 else float("inf")


def diverging_values(chart: Chart) -> Finding | None:
    """Q beyond what any sequence of the rewards seen could be worth, and growing, or far beyond."""
    values = [abs(value) for value in chart.all("train/q_mean")]
    if len(values) < 2 * RECENT:
        return None
    bound = worth(chart)
    reached = max(bound, NEW * chart.reward_unit)
    now, before = float(np.mean(values[-RECENT:])), float(np.mean(values[-2 * RECENT : -RECENT]))
    growing = now > 2 * reached and now > 1.2 * before
    if not (growing or (bound > 0 and now > FAR * reached)):
        return None
    return Finding(
        "Diverging Q",
        f"The mean |Q| is {now:.3g}{' and grows' if growing else ''}; the rewards seen are worth "
        f"{bound:.3g} at most",
        "Each target is made of a value that is too large already",
        CERTAIN,
        "--critic.count 2, --critic.norm layer, a lower --critic.lr and --target.tau, "
        "--critic.clip-norm 1",
        serious=True,
    )


def critic_predicts_nothing(chart: Chart) -> Finding | None:
    """The TD error against what there is to predict; not of cross-entropies."""
    if chart.config.critic.head != "scalar":
        return None
    loss, spread = chart.recent("train/critic_loss"), chart.recent("health/q_std")
    reward = chart.recent("health/reward_std")
    error = chart.reward_unit * typical_error(loss, chart.config.critic.loss)
    if not error > 3 * max(spread, reward):
        return None
    return Finding(
        "The critic predicts nothing",
        f"Its error is {error:.3g}, its values differ by {spread:.3g}, the rewards by {reward:.3g}",
        "What it says of an action is noise",
        LIKELY,
        "a lower --critic.lr, a larger --replay.batch-size, --env.reward-scale so that rewards are "
        "about 1, --target.tau 0.005 or less",
    )


def typical_error(loss: float, kind: str) -> float:
    """Return how large an error is that has such a loss, squared or Huber's."""
    if not loss >= 0:
        return float("nan")
    return float(np.sqrt(loss)) if kind == "squared" or loss < 1 else (loss + 1) / 2


def values_in_bins(chart: Chart) -> Finding | None:
    """Values that all lie in one bin, or beyond the outermost ones."""
    bins = heads.bins(chart.config.critic)
    if bins is None:
        return None
    spread, unit = chart.recent("health/q_std"), chart.reward_unit
    beyond, width = chart.recent("train/beyond_bins"), 2 * SUPPORT * unit / (bins - 1)
    if beyond > 0.2:
        return Finding(
            "Values beyond the bins",
            f"{beyond:.0%} of the targets are at the outermost bins, ±{SUPPORT * unit:.3g}",
            "Of what lies beyond, the critic cannot say how far: values are larger than any return "
            "that has come",
            LIKELY,
            "--critic.count 2, a lower --target.gamma, or --critic.head scalar",
            serious=beyond > 0.8,
        )
    # Untrained bins say noise, so values may differ where nothing that came makes them.
    bound = worth(chart)
    little = 0 < bound < width
    if not (little or spread < 0.2 * width):
        return None
    return Finding(
        "Values in a single bin",
        f"The rewards seen are worth {bound:.3g} at most, and a bin is {width:.3g} wide"
        if little
        else f"They differ by {spread:.3g}, and a bin is {width:.3g} wide",
        "The bins are for the largest return that has come, and beside it the others are nearly "
        "nothing",
        LIKELY,
        "to cut single large rewards in the environment, --critic.head scalar, more --critic.bins",
        serious=0 < bound < 0.1 * width or spread < 0.02 * width,
    )


def exploding_gradients(chart: Chart) -> Finding | None:
    """Gradients of a length that no line has by chance: a single one says it."""
    for name in ("critic", "actor"):
        length = chart.recent(f"health/{name}_gradient", least=1)
        if length > 1e6:
            return Finding(
                "Exploding gradients",
                f"The {name}'s gradient is {length:.3g} long",
                "Single batches throw the network about",
                LIKELY,
                f"--{name}.clip-norm 1, a smaller --env.reward-scale",
                serious=length > 1e12,
            )
    return None


def vanishing_gradients(chart: Chart) -> Finding | None:
    """Gradients too small to learn from."""
    for name in ("critic", "actor", "encoder"):
        length = chart.recent(f"health/{name}_gradient")
        if length < 1e-7:
            return Finding(
                "Vanishing gradients",
                f"The {name}'s gradient is {length:.3g} long",
                f"The {name} does not learn any more",
                LIKELY,
                "a larger --env.reward-scale, for the actor --actor.preactivation-penalty 0.01",
            )
    return None


GRADIENTS = ("health/actor_gradient", "health/critic_gradient")
BIAS = ("health/q_bias", "health/reward_std")
RULES: tuple[Rule, ...] = (
    Rule("simulations that begin anew", conditions.breaks_down),
    Rule("rewards that never change", conditions.no_reward, ("health/reward_std",)),
    Rule("an actor that stands still", conditions.only_costs, conditions.COSTS),
    Rule("diverging Q", diverging_values, ("train/q_mean",), 2 * RECENT),
    Rule("Q that overestimates", overestimation, BIAS),
    Rule("a saturated actor", saturated_actor, ("health/saturated",)),
    Rule("dead units", dead_units, ("health/dead_actor",)),
    Rule("an encoder that sees nothing", blind_encoder),
    Rule("a memory that is of no use", useless_memory),
    Rule("a critic that predicts nothing", critic_predicts_nothing, ("health/q_std",)),
    Rule("values that bins cannot say", values_in_bins),
    Rule("exploding gradients", exploding_gradients, GRADIENTS, 1),
    Rule("vanishing gradients", vanishing_gradients, GRADIENTS),
    Rule("no updates", conditions.no_updates),
    Rule("large learning rates", conditions.large_rates),
    Rule("noise", conditions.noise),
    Rule("fast targets", conditions.fast_targets),
    Rule("few random steps", conditions.few_start_steps),
    Rule("a small replay", conditions.small_replay),
    Rule("the replay ratio", conditions.replay_ratio),
    Rule("scales of observations", conditions.scales_of_observations, ("health/obs_largest",), 1),
    Rule("an offset of rewards", conditions.offset_of_rewards),
    Rule("the scale of rewards", conditions.scale_of_rewards, ("health/reward_std",), 1),
    Rule("evaluation below training", conditions.worse_in_evaluation, conditions.BOTH),
    Rule("episodes that are cut off", conditions.cut_off, ("rollout/ep_len_mean",)),
    Rule("a world that is left alone", conditions.left_alone),
)


def examine(chart: Chart) -> list[Finding]:
    """Return what is wrong with a member, what is serious first, and of that what is certain."""
    found = [finding for rule in RULES for finding in [rule.ask(chart)] if finding is not None]
    explained = {name for finding in found for name in finding.explains}
    told = [
        finding._replace(advice=not_given(finding.advice, chart.config))
        for finding in found
        if finding.name not in explained
    ]
    return sorted(told, key=urgency)


def urgency(finding: Finding) -> tuple[bool, int]:
    """Return what findings are ordered by."""
    return not finding.serious, SURE.index(finding.sure)


def seeds_disagree(charts: Sequence[Chart]) -> Finding | None:
    """Seeds of one arm that have come to very different ends."""
    ends = [chart.recent("eval/mean_reward") for chart in charts]
    firsts = [values[0] for chart in charts if (values := chart.all("eval/mean_reward"))]
    learned = all(chart.updates for chart in charts)
    if len(ends) < 2 or not (learned and np.isfinite(ends).all()):
        return None
    gained = max(ends) - float(np.mean(firsts))
    apart = max(ends) - min(ends)
    if not (gained > 0 and apart > 0.5 * gained):
        return None
    return Finding(
        "Seeds disagree",
        f"The best ends at {max(ends):.4g}, the worst at {min(ends):.4g}",
        "What a single seed says of this recipe is chance",
        CERTAIN,
        "more --seeds; more --explore.start-steps, --critic.norm layer, --critic.count 2, lower "
        "learning rates",
    )
