"""Hypothesis strategies for configurations that make sense."""

import dataclasses
from typing import get_args, get_type_hints

from hypothesis import strategies as st

from qmu import config as options
from qmu.config import Config, total_steps
from qmu.config.declared import (
    COLOR,
    FINITE,
    FRACTION,
    NOT_EMPTY,
    NOT_NEGATIVE,
    PART,
    POSITIVE,
    SHARE,
    UP_TO_1000,
    WIDTH,
    ZERO_OR_ONE,
)
from qmu.config.env import SET_BY_QMU, SIDE
from qmu.config.log import FILE_NAME, PROJECT
from qmu.config.memory import FED
from qmu.config.tables import Table, read_table
from qmu.config.workers import HERE, Workers

OPTIONS = [(group, option.name) for group, option in options.options()]


def kind_of(group, name):
    """Return the option's type, and whether it may be None."""
    hint = get_type_hints(options.GROUPS[group])[name]
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return (kinds[0], True) if type(None) in get_args(hint) else (hint, False)


def rule_of(group, name):
    fields = options.GROUPS[group].__dataclass_fields__
    return fields[name].metadata["rule"]


# What makes options fit together, whatever the others are.
FITTING = {
    ("env", "step_timeout"): st.floats(100, 1000),
    ("env", "count"): st.integers(1, 8),
    # One world in all, which would leave out most of the others.
    ("env", "single"): st.just(False),
    # A process takes a second to begin: tests/collecting/test_crew.py has a few.
    ("env", "workers"): st.just(Workers("0")),
    ("env", "cluster"): st.just(HERE),
    # Names of parts are those of one world.
    ("env", "images"): st.sampled_from([("auto",), ("none",)]),
    ("env", "hide"): st.just(()),
    ("critic", "bins"): st.integers(2, 200),
    ("memory", "size"): st.integers(1, 512),
    ("memory", "sequence"): st.integers(1, 300),
    ("memory", "burn_in"): st.integers(0, 50),
    ("memory", "fed"): st.permutations(FED).flatmap(
        lambda names: st.integers(1, 3).map(lambda count: tuple(names[:count]))
    ),
    ("replay", "capacity"): st.integers(1000, 10**7),
    ("replay", "batch_size"): st.integers(1, 1000),
    ("explore", "start_steps"): st.integers(0, 1000),
    ("train", "learn_after"): st.integers(0, 1000),
    ("train", "total_steps"): st.integers(1001, 10**9),
    ("train", "schedule_steps"): st.one_of(st.just(0), st.integers(1001, 20_000)),
    ("train", "updates_per_step"): st.just(0.0) | st.floats(1, 1e6),
    ("train", "seed"): st.integers(0, 2**30),
    ("train", "seeds"): st.integers(1, 1000),
}
FLOATS = {
    POSITIVE: st.floats(1e-9, 1e6),
    NOT_NEGATIVE: st.floats(0, 1e6),
    FRACTION: st.floats(0, 1),
    PART: st.floats(0, 0.99),
    SHARE: st.floats(1e-9, 1),
    WIDTH: st.floats(0.01, 2),
    COLOR: st.floats(0, 2),
    FINITE: st.floats(-1e6, 1e6),
}
TEXTS = {
    None: st.text(max_size=8),
    NOT_EMPTY: st.text(min_size=1, max_size=8),
    PROJECT: st.text("aZ09-_ é.", min_size=1, max_size=8),
    FILE_NAME: st.text("aZ09-_ é.", max_size=8).map("a".__add__),
}
INTEGERS = {
    ZERO_OR_ONE: st.integers(0, 1),
    UP_TO_1000: st.integers(1, 1000),
    SIDE: st.integers(32, 1000),
}
SIZES = st.lists(st.integers(1, 512), max_size=4).map(tuple)
DOTTED = st.lists(st.sampled_from(["a.b", "package.module.Wrapper"]), max_size=3).map(tuple)
LEAVES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5)
TABLES = st.dictionaries(
    # Hypothesis draws words that it finds in the source, too: "id" is one.
    st.text(max_size=5).filter(lambda name: name not in SET_BY_QMU),
    st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
    ),
    min_size=1,
    max_size=3,
).map(read_table)


def valid_values(group, name):
    """Return a strategy for the option's valid values."""
    kind, may_be_none = kind_of(group, name)
    rule = rule_of(group, name)
    if (group, name) in FITTING:
        values = FITTING[group, name]
    elif kind is float:
        values = FLOATS[rule]
    elif kind is str:
        values = TEXTS[rule] if rule in TEXTS else st.sampled_from(names_of(rule))
    elif kind is int:
        values = INTEGERS.get(rule, st.integers(1, 10**6))
    else:
        values = {
            bool: st.booleans(),
            tuple[int, ...]: SIZES,
            tuple[str, ...]: DOTTED,
            Table: TABLES,
        }[kind]
    return values | st.none() if may_be_none else values


def names_of(rule):
    """Return the names in a rule of `one_of`."""
    return rule[1].removeprefix("must be one of ").split(", ")


def records(group, **given):
    """Return a strategy for a group's record, with some options from strategies given here."""
    names = [name for home, name in OPTIONS if home == group]
    return st.builds(
        options.GROUPS[group],
        **{name: given.get(name, valid_values(group, name)) for name in names},
    )


def without_contradictions(config):
    """Return the configuration with options left out that contradict others."""
    critic, target, explore = config.critic, config.target, config.explore
    actor, replay, env, memory = config.actor, config.replay, config.env, config.memory
    if not memory.used:
        memory = Config().memory
    if env.pixels is None:
        env = dataclasses.replace(env, camera=None, shadows=False, numbers=False)
    else:
        env = dataclasses.replace(env, render=False)
    if critic.count == 1:
        critic = dataclasses.replace(critic, batches="shared")
    if critic.batches == "regions":
        critic = dataclasses.replace(critic, bootstrap="mean", subset=None)
        actor = dataclasses.replace(actor, climbs="mean")
    if memory.used:
        if critic.batches == "regions":
            critic = dataclasses.replace(critic, batches="shared")
        if replay.capacity // env.count < config.train.chunk:
            memory = dataclasses.replace(memory, start="zeros")
        rows = replay.capacity // env.count // 2
        taken = total_steps(config) // env.count
        steps = max(1, min(memory.sequence, rows, taken))
        memory = dataclasses.replace(memory, sequence=steps, burn_in=min(memory.burn_in, steps - 1))
        replay = dataclasses.replace(replay, n_step=min(replay.n_step, steps, rows))
    if replay.priorities == "uniform":
        replay = dataclasses.replace(replay, fade=None)
    if replay.priorities == "lap":
        replay = dataclasses.replace(replay, beta=None, beta_end=None)
    if "batch" in (actor.norm, critic.norm) or actor.input_norm or critic.input_norm:
        replay = dataclasses.replace(replay, batch_size=max(2, replay.batch_size))
    if critic.norm != "batch" and not critic.input_norm:
        critic = dataclasses.replace(critic, joined=False)
    if critic.head == "scalar":
        critic = dataclasses.replace(critic, bins=None, spread=None)
    else:
        critic = dataclasses.replace(critic, loss="squared")
    if critic.head == "categorical":
        critic = dataclasses.replace(critic, spread=None)
    if env.normalize_rewards or critic.head != "scalar":
        env = dataclasses.replace(env, reward_scale=1.0)
    if critic.subset is not None:
        critic = dataclasses.replace(critic, subset=min(critic.subset, critic.count))
    if not critic.hidden_sizes:
        critic = dataclasses.replace(critic, action_layer=0)
    if not target.smoothing_std:
        target = dataclasses.replace(target, smoothing="action", smoothing_clip=None)
    if target.smoothing == "weights":
        target = dataclasses.replace(target, smoothing_clip=None)
    if explore.noise == "ou":
        explore = dataclasses.replace(
            explore, ou_dt=min(explore.ou_dt, 1 / (1e-9 + explore.ou_theta))
        )
    if explore.noise == "none" or env.count == 1:
        explore = dataclasses.replace(explore, std_last=None)
    if 0 in (config.train.updates_per_step, actor.lr) or actor.norm == "batch" or actor.input_norm:
        explore = dataclasses.replace(explore, parameter_distance=None)
    return dataclasses.replace(
        config,
        env=env,
        actor=with_fitting_optimizer(actor),
        replay=replay,
        critic=with_fitting_optimizer(critic),
        target=target,
        explore=explore,
        memory=memory,
    )


def with_fitting_optimizer(network):
    """Return the network's options with none that another optimizer would need."""
    if network.optimizer == "adam":
        return dataclasses.replace(network, momentum=None, weight_decay=None)
    if network.optimizer == "adamw":
        decay = 0.01 if network.weight_decay is None else network.weight_decay
        return dataclasses.replace(network, momentum=None, weight_decay=decay)
    return network


def configs(**groups):
    """Return a strategy for valid configurations, with some groups from strategies given here."""
    every = {group: groups.get(group, records(group)) for group in options.GROUPS}
    return st.builds(Config, **every).map(without_contradictions)
