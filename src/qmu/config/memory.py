"""The options of the memory, which carries a state along an episode."""

import dataclasses
from dataclasses import dataclass

from qmu.config.declared import NOT_NEGATIVE, POSITIVE, Rule, numeric, one_of, structural
from qmu.config.spelling import flag
from qmu.errors import ConfigError

# What it can be given of a step.
FED = ("observation", "action", "reward")
WHAT: Rule = (
    lambda names: len(names) > 0 and len(set(names)) == len(names) and set(names) <= set(FED),
    f"must name some of {', '.join(FED)}, each once",
)


@dataclass(frozen=True)
class Memory:
    """What actor and critics remember of an episode, each in a memory of their own."""

    kind: str = structural(
        "none",
        help="none, gru, or mingru, whose gates do not look at the state",
        rule=one_of("none", "gru", "mingru"),
    )
    size: int = structural(64, help="numbers of its state", rule=POSITIVE)
    sequence: int = structural(
        32,
        help="steps of a sequence: an update learns from replay.batch-size x (sequence - burn-in) "
        "transitions",
        rule=POSITIVE,
    )
    burn_in: int = structural(
        0,
        help="first steps of a sequence that only lead the state in, and are not learned from",
        rule=NOT_NEGATIVE,
    )
    lr: float = numeric(
        3e-4, help="learning rate, from the first update to the last", rule=NOT_NEGATIVE
    )
    fed: tuple[str, ...] = structural(
        ("observation", "action"),
        help="what it is given: observation, the last action, the last reward",
        rule=WHAT,
    )
    start: str = structural(
        "zeros",
        help="state at a sequence's start: zeros, or stored, as it was when the row was stored",
        rule=one_of("zeros", "stored"),
    )

    @property
    def used(self) -> bool:
        """Whether there is a memory."""
        return self.kind != "none"


def check_memory(
    memory: Memory, capacity: int, steps: int, worlds: int, n_step: int, batches: str, chunk: int
) -> None:
    """Raise ConfigError where options of the memory contradict each other, or others.

    Args:
        memory: the options.
        capacity: rows of a member's stream.
        steps: of the whole run.
        worlds: that share it.
        n_step: steps of reward before a target bootstraps.
        batches: what each critic learns from.
        chunk: steps of every world that are collected at once.
    """
    if not memory.used:
        for option in dataclasses.fields(Memory):
            if getattr(memory, option.name) != option.default:
                raise ConfigError(
                    f"{flag('memory', option.name)} is about a memory, and there is none: give "
                    f"{flag('memory', 'kind')} gru or mingru, or leave it out"
                )
        return
    if memory.burn_in >= memory.sequence:
        raise ConfigError(
            f"--memory.burn-in {memory.burn_in} leaves nothing to learn from of a "
            f"--memory.sequence of {memory.sequence}: lower the one or raise the other"
        )
    if n_step > memory.sequence:
        raise ConfigError(
            f"--replay.n-step {n_step} is longer than a --memory.sequence of {memory.sequence}: "
            "lower the one or raise the other"
        )
    if memory.sequence > steps // worlds:
        raise ConfigError(
            f"a --memory.sequence of {memory.sequence} is longer than the {steps // worlds} steps "
            "of each world in the whole run: lower it, or raise --train.total-steps"
        )
    rows = capacity // worlds
    if memory.sequence + n_step > rows:
        raise ConfigError(
            f"a --memory.sequence of {memory.sequence} with --replay.n-step {n_step} is longer "
            f"than what --replay.capacity {capacity} holds of each world ({rows} rows): lower the "
            "one or raise the other"
        )
    if memory.start == "stored" and chunk > rows:
        raise ConfigError(
            f"--memory.start stored looks at the {chunk} newest rows of each world together "
            f"(--train.chunk), and --replay.capacity {capacity} holds {rows}: raise it, or lower "
            "--train.chunk"
        )
    if batches == "regions":
        raise ConfigError(
            "--critic.batches regions divides observations by their numbers, and with "
            f"--memory.kind {memory.kind} they are seen in sequences: leave one of them out"
        )
