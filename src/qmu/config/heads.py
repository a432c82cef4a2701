"""What follows from how critics say a value, and what contradicts it."""

from qmu.config.env import Env
from qmu.config.networks import Critic
from qmu.errors import ConfigError

BINS, SPREAD = 51, 0.75


def bins(critic: Critic) -> int | None:
    """Return how many bins a value is said in; None where it is one number."""
    if critic.head == "scalar":
        return None
    return BINS if critic.bins is None else critic.bins


def spread(critic: Critic) -> float:
    """Return the standard deviation of the targets of hl-gauss, in widths of a bin."""
    return SPREAD if critic.spread is None else critic.spread


def normalizes_rewards(env: Env, critic: Critic) -> bool:
    """Tell whether rewards are divided by a running scale: it was asked for, or bins need it."""
    return env.normalize_rewards or critic.head != "scalar"


def check_head(env: Env, critic: Critic) -> None:
    """Raise ConfigError where options about values and their scale contradict each other."""
    binned = critic.head != "scalar"
    if not binned:
        for name, value in (("bins", critic.bins), ("spread", critic.spread)):
            if value is not None:
                raise ConfigError(
                    f"--critic.{name} {value} is about values in bins, and --critic.head is "
                    "scalar: choose categorical or hl-gauss, or leave it out"
                )
    elif critic.loss != "squared":
        raise ConfigError(
            f"--critic.loss {critic.loss} is about scalar values, and those of --critic.head "
            f"{critic.head} are learned by cross-entropy: leave one of them out"
        )
    if critic.head == "categorical" and critic.spread is not None:
        raise ConfigError(
            f"--critic.spread {critic.spread} is that of targets of --critic.head hl-gauss, and "
            "those of categorical are as wide as what was bootstrapped: leave one of them out"
        )
    if normalizes_rewards(env, critic) and env.reward_scale != 1:
        cause = f"--critic.head {critic.head}" if binned else "--env.normalize-rewards"
        raise ConfigError(
            f"--env.reward-scale {env.reward_scale} changes nothing where {cause} divides rewards "
            "by their own scale: leave one of them out"
        )
