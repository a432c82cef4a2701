"""The house's rules, checked on the source: imports flow one way, and no option is dead."""

import ast
import graphlib
from pathlib import Path

import pytest

import qmu
from qmu import config as options

HOUSE = Path(qmu.__file__).parent
FILES = sorted(path.relative_to(HOUSE).as_posix() for path in HOUSE.rglob("*.py"))

# Rooms are folders; on the ground, and on the roof, there are single files. A room may import from
# itself and from the floors below. Rooms of one floor do not know each other.
GROUND = ["errors", "wording", "layout", "rows", "parts", "places", "signals"]
ROOF = ["cli", "forms", "command", "output", "__init__", "__main__"]
FLOORS = [
    GROUND,
    ["config"],
    ["presets", "agent", "replay", "world", "deploy"],
    ["saving"],
    ["records"],
    ["collecting"],
    ["learning"],
    ["health", "watching"],
    ["runs"],
    ["study"],
    ["report", "shipping"],
    ["tuning"],
    ROOF,
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ROOMS = [room for room in FLOOR if room not in GROUND + ROOF]
# What one may have in mind of a room.
MOST_FILES, MOST_LINES = 26, 4_500
# The rooms in which nothing of the machine is looked at: mathematics, worlds, policies.
QUIET = [
    "errors",
    "wording",
    "layout",
    "rows",
    "parts",
    "config",
    "presets",
    "agent",
    "replay",
    "world",
    "deploy",
]

CLOCK_AND_ENVIRONMENT = {"time", "datetime", "os", "subprocess", "socket"}
FILE_ACCESS = {"pathlib", "io", "shutil", "tempfile"}


def room_of(file):
    """Return the room of a file: the first part of its path."""
    return file.split("/")[0].removesuffix(".py")


def parse(file):
    return ast.parse((HOUSE / file).read_text(encoding="utf-8"), file)


def imported_modules(tree):
    """Return the dotted names that a file imports; `from a import b` may mean the module a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_rooms(tree):
    """Return the rooms of the house that a file imports from."""
    inside = [name.split(".")[1] for name in imported_modules(tree) if name.startswith("qmu.")]
    return {name if name in FLOOR else "__init__" for name in inside}


def may_import(room, other):
    shared = room == other or {room, other} <= set(GROUND) or {room, other} <= set(ROOF)
    return shared or FLOOR[other] < FLOOR[room]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_a_folder_that_one_can_have_in_mind(room):
    own = [file for file in FILES if room_of(file) == room]
    assert all(file.count("/") == 1 for file in own)
    assert 0 < len(own) <= MOST_FILES
    assert sum(len((HOUSE / file).read_text("utf-8").splitlines()) for file in own) <= MOST_LINES


def test_no_two_rooms_need_each_other():
    needed = {room: set() for room in ROOMS}
    for file in FILES:
        if room_of(file) in needed:
            others = imported_rooms(parse(file)) & needed.keys()
            needed[room_of(file)] |= others - {room_of(file)}
    graphlib.TopologicalSorter(needed).prepare()


def test_a_files_name_does_not_repeat_its_rooms():
    assert [file for file in FILES if file.endswith(f"{room_of(file)}.py") and "/" in file] == []


def test_no_file_needs_itself_by_way_of_others():
    modules = {"qmu." + file.removesuffix(".py").replace("/", "."): file for file in FILES}
    needed = {}
    for module, file in modules.items():
        # What is imported is a module, or a name in one.
        names = imported_modules(parse(file))
        needed[module] = (names | {name.rpartition(".")[0] for name in names}) & modules.keys()
    graphlib.TopologicalSorter(needed).prepare()


def imported_packages(tree):
    return {name.split(".")[0] for name in imported_modules(tree)}


@pytest.mark.parametrize("file", FILES)
def test_every_file_lives_in_a_room_that_the_rule_knows(file):
    assert room_of(file) in FLOOR


@pytest.mark.parametrize("file", FILES)
def test_imports_flow_one_way(file):
    upward = [room for room in imported_rooms(parse(file)) if not may_import(room_of(file), room)]
    assert upward == []


@pytest.mark.parametrize(
    ("room", "line", "allowed"),
    [
        ("agent", "from qmu.replay.stream import sample", False),
        ("agent", "from qmu import replay", False),
        ("world", "import qmu.learning.loop", False),
        ("config", "from qmu.agent import update", False),
        ("collecting", "from qmu.learning.loop import Trainer", False),
        ("health", "from qmu.watching import console", False),
        ("runs", "from qmu import train", False),
        ("learning", "import qmu.cli", False),
        ("learning", "from qmu.agent import update", True),
        ("agent", "from qmu import config as options", True),
        ("config", "from qmu.errors import ConfigError", True),
        ("cli", "from qmu import __version__", True),
    ],
)
def test_the_import_rule_sees_an_upward_edge(room, line, allowed):
    (other,) = imported_rooms(ast.parse(line))
    assert may_import(room, other) is allowed


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) in QUIET])
def test_the_quiet_rooms_read_no_clock_and_no_environment_variable(file):
    assert not imported_packages(parse(file)) & CLOCK_AND_ENVIRONMENT


# The configuration and the policy read the one file that they are asked for.
READERS = ("config/files.py", "config/values.py")
SILENT = [
    file
    for file in FILES
    if room_of(file) in QUIET and room_of(file) not in ("presets", "deploy") and file not in READERS
]


@pytest.mark.parametrize("file", SILENT)
def test_the_quiet_rooms_touch_no_file(file):
    tree = parse(file)
    called = {node.func.id for node in ast.walk(tree) if is_call_of_a_name(node)}
    assert not imported_packages(tree) & FILE_ACCESS
    assert not called & {"open", "print", "input"}


def is_call_of_a_name(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("file", [file for file in FILES if room_of(file) == "deploy"])
def test_the_deployed_policy_needs_no_training_framework(file):
    known = {"jax", "equinox", "optax", "gymnasium", "torch", "onnx", "onnxruntime"}
    own = {"deploy/onnx.py": {"onnx", "onnxruntime"}, "deploy/torch.py": {"torch"}}
    assert imported_packages(parse(file)) & known == own.get(file, set())


def test_losses_see_arrays_and_no_configuration():
    assert imported_rooms(parse("agent/losses.py")) == set()


def group_names(tree):
    """Return name -> groups that it may stand for: aliases and annotated parameters.

    `settings = self.config.explore` makes `settings` an alias, `options: config.Actor` too, and
    a class that several groups inherit from stands for all of them.
    """
    records = {}
    for group, record in options.GROUPS.items():
        for inherited in record.__mro__:
            records.setdefault(inherited.__name__, set()).add(group)
    aliases = {group: {group} for group in options.GROUPS}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for name, value in assigned_pairs(node):
                if isinstance(value, ast.Attribute) and value.attr in options.GROUPS:
                    aliases.setdefault(name, set()).add(value.attr)
        elif isinstance(node, ast.arg) and node.annotation is not None:
            for part in ast.walk(node.annotation):
                named = getattr(part, "attr", getattr(part, "id", None))
                if named in records:
                    aliases.setdefault(node.arg, set()).update(records[named])
    return aliases


def assigned_pairs(node):
    """Return (name, value) of an assignment; of a tuple's, one for each element."""
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = zip(target.elts, node.value.elts, strict=False)
        else:
            pairs = [(target, node.value)]
        for name, value in pairs:
            if isinstance(name, ast.Name):
                yield name.id, value


def options_read(tree, inside=None):
    """Return (group, option) of every `something.group.option` and `alias.option`."""
    aliases = group_names(tree)
    read = set()
    for node in ast.walk(inside or tree):
        if isinstance(node, ast.Attribute):
            home = getattr(node.value, "attr", getattr(node.value, "id", None))
            read |= {(group, node.attr) for group in aliases.get(home, ())}
    return read


def helpers_of_config(used):
    """Return config's functions that work out a setting and that the house uses."""
    for tree in map(parse, ("config/lengths.py", "config/heads.py")):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name in used:
                yield tree, node


def names_used(tree):
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return attributes | {name.rpartition(".")[2] for name in imported_modules(tree)}


def all_options_read():
    """Return every (group, option) that something in the house acts on."""
    read, used = set(), set()
    for file in FILES:
        if room_of(file) != "config":
            read |= options_read(parse(file))
            used |= names_used(parse(file))
    for tree, helper in helpers_of_config(used):
        read |= options_read(tree, helper)
    return read


@pytest.fixture(scope="module")
def read_somewhere():
    return all_options_read()


@pytest.mark.parametrize(
    "option", [(group, option.name) for group, option in options.options()], ids=".".join
)
def test_no_option_is_dead(option, read_somewhere):
    assert option in read_somewhere


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("self.config.target.tau", True),
        ("settings = config.target; settings.tau", True),
        ("train, settings = config.train, config.target\nsettings.tau", True),
        ("def f(settings: options.Target): return settings.tau", True),
        ("target.tau", True),
        ("config.actor.tau", False),
        ("settings = config.actor; settings.tau", False),
        ("agent.tau", False),
    ],
)
def test_an_option_is_read_through_its_group(code, found):
    assert (("target", "tau") in options_read(ast.parse(code))) is found
