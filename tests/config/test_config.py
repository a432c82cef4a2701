"""Options: round trips, and what is said about a wrong one."""

import math
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import tomli_w
from budget import examples
from configs import OPTIONS, configs, kind_of, rule_of
from hypothesis import given, settings
from hypothesis import strategies as st

from qmu import config as options
from qmu.config import (
    Config,
    flag,
    learn_after,
    planned_updates,
    reading,
    seeds,
    start_steps,
    to_dict,
    total_steps,
)
from qmu.config.declared import (
    AT_LEAST_2,
    COLOR,
    FINITE,
    FRACTION,
    NOT_EMPTY,
    NOT_NEGATIVE,
    NOTICEABLE,
    PART,
    POSITIVE,
    SHARE,
    UP_TO_1000,
    WIDTH,
    ZERO_OR_ONE,
)
from qmu.config.env import DOTTED, KEYWORDS, NAMES, ONCE, SIDE, WORKERS
from qmu.config.files import read_toml
from qmu.config.log import FILE_NAME, PROJECT
from qmu.config.memory import WHAT
from qmu.config.networks import SIZES
from qmu.config.reading import from_dict
from qmu.config.tables import Table
from qmu.config.train import SEED
from qmu.config.workers import Workers
from qmu.errors import ConfigError

CONFIGS = configs()


@settings(max_examples=examples(15, 60))
@given(CONFIGS)
def test_a_configuration_survives_its_dictionary(config):
    assert from_dict(to_dict(config)) == config


@settings(max_examples=examples(15, 60))
@given(CONFIGS)
def test_a_configuration_survives_a_toml_file(config):
    assert from_dict(tomllib.loads(tomli_w.dumps(to_dict(config)))) == config


def test_the_defaults_are_a_valid_configuration():
    assert from_dict({}) == from_dict(to_dict(Config())) == Config()


def refusal(values):
    """Return what is said against these options; None: they are taken."""
    try:
        from_dict(values)
    except ConfigError as refused:
        return str(refused)
    return None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from(OPTIONS), ANYTHING)
def test_any_value_is_taken_or_refused_with_the_flag(option, value):
    group, name = option
    message = refusal({group: {name: value}})
    # --seed and --seeds have short names.
    assert message is None or flag(group, name) in message or f"--{name}" in message


@pytest.mark.parametrize("value", [10**400, np.array([1, 2])], ids=["too large", "an array"])
@pytest.mark.parametrize("option", [("train", "total_steps"), ("actor", "lr")], ids=".".join)
def test_what_only_looks_like_a_number_is_refused(option, value):
    assert flag(*option) in refusal({option[0]: {option[1]: value}})


WRONG_TYPES = {
    bool: [1, "yes", None, []],
    int: [1.5, "3", True, float("nan"), float("inf"), [1]],
    float: ["0.1", True, [0.1], 1j],
    str: [3, True, ["a"]],
    tuple[int, ...]: [5, "64", [64.5], ["64"], [True], {"a": 1}],
    tuple[str, ...]: [5, "a.b", [3], [None], {"a": 1}],
    Table: [5, True, ["a"], "a", "{a = }", {"a": None}, {"a": [1j]}, {3: 1}],
    Workers: [1.5, True, [1], "ray", "ray:", "ray:x", "ray:1.5", "Ray:2", " 2", "1_0", "", "ray:²"],
}
WORDS = {
    bool: "is not true or false",
    int: "is not a whole number",
    float: "is not a number",
    str: "is not a text",
    tuple[int, ...]: "is not a (list of )?whole number",
    tuple[str, ...]: "is not a (list of )?text",
    Table: "(is not a table|is no text, number|the names of a table are texts)",
    Workers: "is not a (number of processes on this machine, such as 2|whole number, or ray:N)",
}


@pytest.mark.parametrize("option", OPTIONS, ids=".".join)
def test_a_wrong_type_is_refused_with_what_was_expected(option):
    kind, may_be_none = kind_of(*option)
    for value in WRONG_TYPES[kind] + ([] if may_be_none else [None]):
        with pytest.raises(ConfigError, match=f"{flag(*option)}: .*{WORDS[kind]}"):
            from_dict({option[0]: {option[1]: value}})


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [
        ({"train": {"total_steps": 2000.0}}, 2000),
        ({"train": {"total_steps": np.int64(2000)}}, 2000),
    ],
)
def test_whole_numbers_of_other_types_are_whole_numbers(given_values, expected):
    steps = from_dict(given_values).train.total_steps
    assert steps == expected
    assert type(steps) is int


def test_numbers_and_lists_become_the_declared_types():
    config = from_dict({"actor": {"lr": 1, "hidden_sizes": [64, 32.0]}})
    assert type(config.actor.lr) is float
    assert config.actor.hidden_sizes == (64, 32)


OUT_OF_RANGE = {
    AT_LEAST_2: [1, 0, -1],
    POSITIVE: [0, -1],
    UP_TO_1000: [0, -1, 1001],
    NOT_NEGATIVE: [-1],
    WORKERS: [-1, "-1", "ray:0", "ray:-2"],
    FRACTION: [-0.001, 1.001],
    PART: [-0.1, 1.0],
    SHARE: [0.0, -0.5, 1.5],
    WIDTH: [0.0, -0.1, 2.5],
    COLOR: [-0.1, 2.001],
    NOTICEABLE: [0.0, -1.0, 0.0009],
    FINITE: [],
    ZERO_OR_ONE: [-1, 2],
    SIZES: [[0], [64, -1]],
    SEED: [-1, 2**31],
    FILE_NAME: ["", "a/b", "a\\b", ".hidden", "..", "a:b", "a\0b"],
    NOT_EMPTY: [""],
    PROJECT: ["", "a/b", "a:b", "100%", "x" * 129],
    SIDE: [0, -84, 31],
    KEYWORDS: [{"render_mode": "human"}, "max_episode_steps = 3", "{num_envs = 2}"],
    NAMES: [[], ["auto", "eye"], ["none", "all"]],
    ONCE: [[""], ["velocity", "velocity"]],
    WHAT: [[], ["observation", "observation"], ["sight"]],
    DOTTED: [["Wrapper"], ["a.b", "a."], [".b"], ["a.b-c"], ["a:b"], [""]],
}
SAME_TABLES = [
    "{frame_skip = 4, parts = {legs = [1, 2]}}",
    "frame_skip = 4\nparts.legs = [1, 2]",
    {"parts": {"legs": np.array([1, 2])}, "frame_skip": np.int64(4)},
]


@pytest.mark.parametrize("given_table", SAME_TABLES)
def test_a_table_is_given_in_one_line_in_several_or_as_a_dictionary(given_table):
    table = from_dict({"env": {"kwargs": given_table}}).env.kwargs
    assert table == SAME_TABLES[0]
    assert table.values() == {"frame_skip": 4, "parts": {"legs": [1, 2]}}
    assert hash(table) == hash(SAME_TABLES[0])


@pytest.mark.parametrize("empty", ["", "{}", {}, "none", None])
def test_an_empty_table_is_none(empty):
    assert from_dict({"env": {"kwargs": empty}}).env.kwargs is None


NOT_FINITE = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("option", [one for one in OPTIONS if rule_of(*one)], ids=".".join)
def test_a_value_out_of_range_is_refused_with_the_rule(option):
    rule = rule_of(*option)
    # What is not in the table is a rule of `one_of`.
    values = OUT_OF_RANGE.get(rule, ["", "Relu", "some"])
    if kind_of(*option)[0] is float:
        values = values + NOT_FINITE
    for value in values:
        with pytest.raises(ConfigError) as refused:
            from_dict({option[0]: {option[1]: value}})
        assert f"{flag(*option)} {rule[1]}, not" in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (("target", "tau"), 1.0),
        (("target", "gamma"), 0.0),
        (("target", "gamma"), 1.0),
        (("actor", "lr"), 0.0),
        (("explore", "mean"), -0.5),
        (("explore", "color"), 0.0),
        (("explore", "color"), 2.0),
        (("train", "seed"), 2**31 - 1),
        (("train", "eval_interval"), 0),
        (("critic", "hidden_sizes"), []),
    ],
)
def test_the_ends_of_a_range_belong_to_it(option, value):
    config = from_dict({option[0]: {option[1]: value}})
    read = getattr(getattr(config, option[0]), option[1])
    assert read == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"trian": {}}, r"unknown group of options 'trian'; did you mean train\?"),
        ({"xyzzy": {}}, r"unknown group of options 'xyzzy'; there are env, actor"),
        ({"train": {"totl_steps": 1}}, r"train\.totl_steps; did you mean total_steps"),
        ({"target": {"xyzzy": 1}}, r"target\.xyzzy; there are tau, interval, gamma"),
        ({"train": {"lr": 1}}, r"train\.lr; there is actor\.lr and critic\.lr"),
        ({"replay": {"tau": 1}}, r"replay\.tau; there is target\.tau"),
        ({"actor": 3}, r"actor is a group of options: give a dictionary such as actor=\{'lr'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(values, words):
    with pytest.raises(ConfigError, match=words):
        from_dict(values)


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({"replay": {"batch_size": 64, "capacity": 63}}, ["batch-size 64", "capacity 63"]),
        (
            {"env": {"count": 8}, "replay": {"batch_size": 4, "capacity": 15}},
            ["capacity 15", "count 8"],
        ),
        ({"env": {"cluster": "ray://auto"}}, ["cluster ray://auto", "workers is 0"]),
        ({"env": {"cluster": "ray://auto", "workers": 2}}, ["cluster ray://auto", "workers is 2"]),
        (
            {"explore": {"start_steps": 501}, "train": {"total_steps": 500}},
            ["start-steps 501", "total-steps 500"],
        ),
        (
            {"explore": {"start_steps": 500}, "train": {"total_steps": 500}},
            ["learn-after", "start-steps", "after step 500", "total-steps is 500"],
        ),
        (
            {"explore": {"start_steps": 0}, "train": {"learn_after": 501, "total_steps": 500}},
            ["learn-after", "after step 501", "total-steps is 500"],
        ),
        (
            {"explore": {"start_steps": 500}, "train": {"schedule_steps": 400}},
            ["after step 500", "--train.schedule-steps is 400"],
        ),
        ({"train": {"seed": 2**31 - 2, "seeds": 3}}, ["--seed", "--seeds 3"]),
        ({"critic": {"count": 2, "subset": 3}}, ["--critic.subset 3", "--critic.count 2"]),
        ({"critic": {"batches": "own"}}, ["--critic.batches own", "--critic.count"]),
        ({"critic": {"batches": "regions"}}, ["--critic.batches regions", "--critic.count"]),
        (
            {"critic": {"batches": "regions", "count": 2}, "actor": {"climbs": "mean"}},
            ["--critic.batches regions", "--critic.bootstrap mean"],
        ),
        ({"explore": {"std_last": 0.4}}, ["--explore.std-last 0.4", "--env.count is 1"]),
        (
            {"explore": {"std_last": 0.4, "noise": "none"}, "env": {"count": 2}},
            ["--explore.std-last 0.4", "--explore.noise is none"],
        ),
        ({"explore": {"noise": "ou", "ou_dt": 10}}, ["--explore.ou-theta", "--explore.ou-dt 10"]),
        (
            {"explore": {"parameter_distance": 0.2}, "actor": {"norm": "batch"}},
            ["--explore.parameter-distance", "--actor.norm batch"],
        ),
        (
            {"critic": {"norm": "batch"}, "replay": {"batch_size": 1}},
            ["--critic.norm batch", "--replay.batch-size"],
        ),
        (
            {"critic": {"input_norm": True}, "replay": {"batch_size": 1}},
            ["--critic.input-norm", "--replay.batch-size of 1"],
        ),
        (
            {"critic": {"norm": "batch", "joined": True}, "replay": {"batch_size": 1}},
            ["--critic.norm batch", "--replay.batch-size of 1"],
        ),
        ({"critic": {"joined": True}}, ["--critic.joined", "--critic.norm batch"]),
        ({"critic": {"bins": 51}}, ["--critic.bins 51", "--critic.head is "]),
        ({"critic": {"spread": 0.5}}, ["--critic.spread 0.5", "--critic.head is "]),
        (
            {"critic": {"spread": 0.5, "head": "categorical"}},
            ["--critic.spread 0.5", "--critic.head hl-gauss"],
        ),
        (
            {"critic": {"loss": "huber", "head": "hl-gauss"}},
            ["--critic.loss huber", "--critic.head hl-gauss"],
        ),
        (
            {"critic": {"head": "categorical"}, "env": {"reward_scale": 0.1}},
            ["--env.reward-scale 0.1", "--critic.head categorical"],
        ),
        (
            {"env": {"reward_scale": 0.1, "normalize_rewards": True}},
            ["--env.reward-scale 0.1", "--env.normalize-rewards"],
        ),
        (
            {"explore": {"parameter_distance": 0.2}, "actor": {"input_norm": True}},
            ["--explore.parameter-distance", "--actor.input-norm"],
        ),
        (
            {"critic": {"action_layer": 1, "hidden_sizes": []}},
            ["--critic.action-layer 1", "--critic.hidden-sizes"],
        ),
        (
            {"target": {"smoothing_std": None, "smoothing_clip": 0.5}},
            ["--target.smoothing-clip", "smoothing-std"],
        ),
        (
            {"target": {"smoothing_std": "none", "smoothing": "shared"}},
            ["--target.smoothing shared", "smoothing-std"],
        ),
        (
            {"target": {"smoothing": "weights", "smoothing_std": 0.1, "smoothing_clip": 0.5}},
            ["--target.smoothing-clip", "--target.smoothing weights"],
        ),
        ({"actor": {"momentum": 0.9}}, ["--actor.momentum", "--actor.optimizer is adam"]),
        ({"critic": {"weight_decay": 0.1}}, ["--critic.weight-decay", "--critic.optimizer adamw"]),
        ({"critic": {"optimizer": "adamw"}}, ["--critic.optimizer adamw", "--critic.weight-decay"]),
        (
            {"explore": {"parameter_distance": 0.2}, "train": {"updates_per_step": 0}},
            ["--explore.parameter-distance", "--train.updates-per-step 0"],
        ),
        (
            {"explore": {"parameter_distance": 0.2}, "actor": {"lr": 0}},
            ["--explore.parameter-distance", "--actor.lr 0"],
        ),
        (
            {"train": {"updates_per_step": 1e-6}},
            ["--train.updates-per-step 1e-06", "--train.total-steps 100000"],
        ),
        (
            {"target": {"smoothing_std": 0, "smoothing_clip": 0.5}},
            ["--target.smoothing-clip", "smoothing-std"],
        ),
        (
            {"replay": {"n_step": 500, "capacity": 300}},
            ["--replay.n-step 500", "--replay.capacity 300"],
        ),
        (
            {"replay": {"fade": 0.99}},
            ["--replay.fade 0.99", "--replay.priorities uniform", "give --replay.priorities td-er"],
        ),
        (
            {"replay": {"priorities": "lap", "beta": 0.4}},
            [
                "--replay.beta 0.4 is about",
                "--replay.priorities lap",
                "leave it out (none), or giv",
            ],
        ),
        (
            {"replay": {"priorities": "lap", "beta": 0.4, "beta_end": 1}},
            ["--replay.beta 0.4 and --replay.beta-end 1.0 are about", "leave them out (none)"],
        ),
        (
            {
                "critic": {"count": 4, "subset": 1, "batches": "regions", "bootstrap": "mean"},
                "actor": {"climbs": "mean"},
            },
            ["--critic.batches regions", "--critic.subset 1"],
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused_with_both(values, flags):
    with pytest.raises(ConfigError) as refused:
        from_dict(values)
    for word in flags:
        assert word in str(refused.value)


def test_without_updates_nothing_has_to_be_learned_before_the_end():
    values = {"explore": {"start_steps": 0}, "replay": {"batch_size": 64}}
    from_dict(values | {"train": {"total_steps": 10, "updates_per_step": 0}})
    with pytest.raises(ConfigError, match="nothing would be learned"):
        from_dict(values | {"train": {"total_steps": 10}})


def test_the_default_number_of_steps_gives_way_to_a_number_of_episodes():
    assert total_steps(Config()) == 100_000
    assert total_steps(from_dict({"train": {"total_steps": 5000}})) == 5000
    assert total_steps(from_dict({"train": {"total_episodes": 10}})) > 10**12
    both = from_dict({"train": {"total_episodes": 10, "total_steps": 5000}})
    assert total_steps(both) == 5000


def test_updates_are_planned_for_the_steps_after_the_first_ones():
    values = {"explore": {"start_steps": 1000}, "train": {"updates_per_step": 0.5}}
    assert planned_updates(from_dict(values)) == math.inf
    train = {"total_steps": 5000, "updates_per_step": 0.5}
    assert planned_updates(from_dict(values | {"train": train})) == 2000


@pytest.mark.parametrize(
    ("asked", "total", "expected"),
    [
        (None, 10_000, 500),
        (None, 100_000, 5_000),
        (None, 1_000_000, 10_000),
        (None, None, 1_000),
        (0, 100_000, 0),
        (7, None, 7),
    ],
)
def test_the_random_steps_are_a_share_of_all_steps_unless_their_number_is_given(
    asked, total, expected
):
    values = {"explore": {"start_steps": asked}, "train": {"total_steps": total}}
    assert start_steps(from_dict(values)) == expected


@pytest.mark.parametrize(
    ("schedule", "total", "horizon", "random"),
    [(None, 4_000, 4_000, 200), (0, 4_000, None, 200), (6_000, 4_000, 6_000, 300)],
)
def test_a_schedule_ends_with_the_run_or_elsewhere_or_there_is_none(
    schedule, total, horizon, random
):
    config = from_dict({"train": {"total_steps": total, "schedule_steps": schedule}})
    assert options.schedule_steps(config) == horizon
    assert start_steps(config) == random
    steps = math.inf if horizon is None else horizon - learn_after(config)
    assert planned_updates(config) == steps


@pytest.mark.parametrize(
    ("random_steps", "batch_size", "asked", "expected"),
    [(500, 64, None, 500), (10, 64, None, 64), (500, 64, 7, 7), (500, 64, 0, 0)],
)
def test_learning_begins_after_the_random_steps_or_a_batch(
    random_steps, batch_size, asked, expected
):
    config = from_dict(
        {
            "explore": {"start_steps": random_steps},
            "replay": {"batch_size": batch_size},
            "train": {"learn_after": asked},
        }
    )
    assert learn_after(config) == expected


def test_members_have_consecutive_seeds():
    assert seeds(from_dict({"train": {"seed": 5, "seeds": 3}})) == (5, 6, 7)


def test_merging_replaces_options_and_keeps_the_others():
    base = {"actor": {"lr": 1.0, "activation": "elu"}, "train": {"seed": 3}}
    merged = reading.merge(base, {"actor": {"lr": 2.0}, "log": {"name": "x"}})
    assert merged == {
        "actor": {"lr": 2.0, "activation": "elu"},
        "train": {"seed": 3},
        "log": {"name": "x"},
    }
    assert base["actor"]["lr"] == 1.0


def test_a_toml_file_is_read(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[train]\nseed = 3\n[actor]\nhidden_sizes = [8]\n", encoding="utf-8")
    config = from_dict(read_toml(path))
    assert config == from_dict({"train": {"seed": 3}, "actor": {"hidden_sizes": (8,)}})


@pytest.mark.parametrize("content", [b"not toml", b"\xff\xfe\x00"])
def test_a_file_that_is_not_toml_is_named(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config.toml is not a TOML file"):
        read_toml(path)


@pytest.mark.parametrize(
    "content",
    [
        f"a = {'[' * 5000}{']' * 5000}",
        f"actor = {'{lr=' * 5000}1{'}' * 5000}",
        f"actor.lr{'.a' * 5000} = 1",
    ],
)
def test_a_file_that_nests_too_deeply_is_named(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"config.toml nests lists and tables more than 100 deep"):
        from_dict(read_toml(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*absent.toml"):
        read_toml(tmp_path / "absent.toml")


def test_every_option_has_a_line_of_help():
    for _, option in options.options():
        assert 10 <= len(option.metadata["help"]) <= 100


def test_numeric_options_are_numbers():
    for group, option in options.options():
        if option.metadata["kind"] == "numeric":
            assert kind_of(group, option.name)[0] is float


def test_configurations_are_not_changed_but_replaced():
    config = Config()
    with pytest.raises(AttributeError):
        config.train.seed = 3
    assert replace(config, train=replace(config.train, seed=3)) != config


@pytest.mark.parametrize(
    ("given_workers", "number", "on_ray"),
    [
        (0, 0, False),
        (np.int64(2), 2, False),
        (2.0, 2, False),
        ("2", 2, False),
        ("ray:8", 8, True),
        ("ray:08", 8, True),
    ],
)
def test_workers_are_a_number_here_or_on_ray(given_workers, number, on_ray):
    config = from_dict({"env": {"workers": given_workers}})
    workers = config.env.workers
    assert (workers.number, workers.on_ray) == (number, on_ray)
    assert str(workers) == f"{'ray:' if on_ray else ''}{number}"
    written = tomllib.loads(tomli_w.dumps(to_dict(config)))
    assert written["env"]["workers"] == (str(workers) if on_ray else number)
    assert from_dict(written) == config
