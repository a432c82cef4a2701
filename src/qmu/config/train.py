"""The options of how long, how often, with which seeds, and on what is trained."""

from dataclasses import dataclass

from qmu.config.declared import NOT_NEGATIVE, POSITIVE, Rule, one_of, structural
from qmu.errors import ConfigError

SEED: Rule = (lambda value: 0 <= value < 2**31, "must lie in [0, 2^31)")


@dataclass(frozen=True)
class Train:
    """How long, how often, with which seeds, on what."""

    total_steps: int | None = structural(
        None,
        help="steps of each member; none: 100000, or no limit when total-episodes is set",
        rule=POSITIVE,
    )
    total_episodes: int | None = structural(
        None,
        help="stop when every member has finished this many episodes (checked once per chunk)",
        rule=POSITIVE,
    )
    schedule_steps: int | None = structural(
        None,
        help="steps in which learning rates, noise and beta reach their ends; none: total-steps; "
        "0: they never do",
        rule=NOT_NEGATIVE,
    )
    learn_after: int | None = structural(
        None,
        help="steps before the first update; none: start-steps, or a batch if that is more",
        rule=NOT_NEGATIVE,
    )
    updates_per_step: float = structural(
        1.0, help="updates per step since learning began: 0.25, 1, 4, ...", rule=NOT_NEGATIVE
    )
    chunk: int = structural(
        32, help="steps of every world between two hand-overs to the learner", rule=POSITIVE
    )
    overlap: bool = structural(
        True, help="collect the next chunk while the learner works on this one"
    )
    eval_interval: int = structural(
        5_000,
        help="steps between two evaluations; 0: none, the newest policy is scored at the end",
        rule=NOT_NEGATIVE,
    )
    eval_episodes: int = structural(10, help="episodes of one evaluation", rule=POSITIVE)
    final_episodes: int = structural(
        30, help="new episodes that the best policies are scored on at the end", rule=POSITIVE
    )
    save_interval: int = structural(
        50_000,
        help="steps between two checkpoints, at which episodes are cut off; 0: only at the end",
        rule=NOT_NEGATIVE,
    )
    keep_checkpoints: int = structural(
        3, help="newest checkpoints that are kept; of older ones, the policies", rule=POSITIVE
    )
    save_rows: bool = structural(
        True,
        help="keep the stream in checkpoints; without it a resumed run fills another one first",
    )
    seed: int = structural(0, help="seed of the first member", rule=SEED)
    seeds: int = structural(1, help="members: seeds seed, seed+1, ...", rule=POSITIVE)
    device: str = structural(
        "auto",
        help="where to learn: auto, cpu, gpu or tpu",
        rule=one_of("auto", "cpu", "gpu", "tpu"),
    )


def check_seeds(train: Train) -> None:
    """Raise ConfigError where the last member's seed would be none."""
    if train.seed + train.seeds > 2**31:
        raise ConfigError(
            f"--seed {train.seed} with --seeds {train.seeds} goes beyond 2^31: lower the seed"
        )


def check_videos(train: Train, video_interval: int) -> None:
    """Raise ConfigError where videos are asked for and there is no evaluation to film."""
    if video_interval and not train.eval_interval:
        raise ConfigError(
            f"--log.video-interval {video_interval}: videos are of evaluations, and with "
            "--train.eval-interval 0 there are none: give an interval, or film the policy later "
            "(qmu play RUN --video out.mp4)"
        )
