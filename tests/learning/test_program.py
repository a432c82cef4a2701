"""The programs of plain runs are the same texts as before: what is switched off costs nothing.

After a change that is meant to change them: `python tests/learning/test_program.py` writes them
anew, for the version of JAX that runs it. The commit says why.
"""

import hashlib
import json
import re
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from qmu.config import reading
from qmu.config.members import members_of
from qmu.layout import Layout
from qmu.learning.groups import divide
from qmu.learning.learner import Learner
from qmu.presets import read_preset
from qmu.rows import Rows

FILE = Path(__file__).with_name("programs.json")
PLAIN = {
    "actor": {"preactivation_penalty": 0},
    "critic": {"norm": "none"},
    "target": {"smoothing_std": None},
}
RECIPES = {"plain": PLAIN, "td-error": PLAIN | {"replay": {"priorities": "td-error"}}}
RECIPES |= {name: read_preset(name) for name in ("default", "td3")}
SEEDS = {"one member": 1, "three members": 3}


def text_of(recipe, seeds):
    """Return what the learner of a recipe asks the compiler for; unused arguments are left out."""
    config = reading.from_dict(RECIPES[recipe] | {"train": {"seeds": SEEDS[seeds], "chunk": 4}})
    groups = divide(members_of(config, {}), jax.devices("cpu")[:1])
    learner = Learner(groups, Layout(3), action_size=2)
    shape = (SEEDS[seeds], 1, 2 * config.train.chunk + 1)
    rows = Rows(
        obs=np.zeros((*shape, 3), np.float32),
        action=np.zeros((*shape, 2), np.float32),
        reward=np.zeros(shape, np.float32),
        terminated=np.zeros(shape, bool),
        last=np.zeros(shape, bool),
        count=np.zeros(shape[:2], np.int32),
    )
    counts = np.int32(0), np.int32(4), np.float32(np.inf)
    lowered = learner.compiled.lower(learner.members[0], rows, *counts, learner.numbers[0], None)
    return lowered.as_text()


def sum_of(text):
    """Return the sum of a program, whatever its functions are called, and how often each is there.

    Which functions are written once or twice depends on what the process has traced before.
    """
    found = re.split(r"^  func\.func \w+ @(\w+)", text, flags=re.MULTILINE)
    bodies = dict(zip(found[1::2], found[2::2], strict=True))

    @cache
    def of(name):
        body = re.sub(
            r"@(\w+)", lambda call: of(call[1]) if call[1] in bodies else "", bodies[name]
        )
        return hashlib.sha256(body.encode()).hexdigest()

    return of("main")


def sums():
    """Return the sum of every program."""
    return {
        f"{recipe}, {seeds}": sum_of(text_of(recipe, seeds))
        for recipe in RECIPES
        for seeds in SEEDS
    }


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_plain_program_is_the_one_that_it_was(recipe, seeds):
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    before = stored.get(jax.__version__, {}).get(f"{recipe}, {seeds}")
    if before is None:
        pytest.skip(f"no such program of jax {jax.__version__} is stored")
    assert sum_of(text_of(recipe, seeds)) == before


if __name__ == "__main__":
    before = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    FILE.write_text(json.dumps(before | {jax.__version__: sums()}, indent=1) + "\n")
