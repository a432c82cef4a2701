"""Histories of worlds as plain lists, and the streams that hold them."""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from qmu.layout import Layout, Seen
from qmu.layout import row as pack
from qmu.replay.stream import append, init_stream, sample, startable, windows
from qmu.rows import Rows

OBS, ACTION, SLOTS = 2, 1, 9
JUNK = -999.0
APPEND = jax.jit(append)
WINDOWS = jax.jit(windows, static_argnames="steps")
PLAIN = Layout(OBS)
# What is in places that nobody may look at.
JUNK_OF = {np.float32: JUNK, np.uint8: 251}
# Halves and quarters are exact in float32.
GAMMA = 0.5
EVENTS = st.lists(st.sampled_from(["go on", "go on", "terminate", "truncate"]), max_size=4)


@partial(jax.jit, static_argnames=("shape", "steps"))
def draw(stream, key, member, shape, steps, gamma):
    """Return windows that begin at rows that are drawn."""
    return windows(stream, member, *sample(stream, key, member, shape), steps, gamma)


def chunks_of(members, worlds):
    """Return chunks of events, each a list for every member and world."""
    chunk = st.lists(EVENTS, min_size=worlds, max_size=worlds)
    return st.lists(st.lists(chunk, min_size=members, max_size=members), min_size=1, max_size=6)


class Row(NamedTuple):
    """A row whose numbers tell where it comes from; those that nobody may look at are junk."""

    number: int
    terminated: bool
    last: bool

    @property
    def obs(self):
        return (self.number, -self.number)

    @property
    def action(self):
        return (JUNK,) if self.last else (self.number + 0.5,)

    @property
    def reward(self):
        return JUNK if self.last else 2.0 * self.number


def stored_as(layout, row):
    """Return a row's observation as it is stored; its pictures tell its number, too."""
    if not layout.images:
        return row.obs
    shades = [
        np.full(image, (row.number + 7 * index) % 240, np.uint8)
        for index, image in enumerate(layout.images)
    ]
    for shade in shades:
        # Channels differ, and so do corners.
        shade[..., -1] += 3
        shade[0, 0] += 5
    return pack(layout, np.float32(row.obs), shades)


def seen_at(kept, place, layout):
    """Return the numbers of what is seen in one of some rows, frame by frame, then its pictures."""
    frames = [place]
    for _ in range(layout.frames - 1):
        before = frames[0] - 1
        inside = before >= 0 and not kept[before].last
        frames.insert(0, before if inside else frames[0])
    rows = [stored_as(layout, kept[one]) for one in frames]
    numbers = [number for one in frames for number in kept[one].obs]
    pictures = []
    for part, (height, width, deep) in zip(layout.places, layout.images, strict=True):
        each = [row[part].reshape(height, width, deep) for row in rows]
        for y, x in np.ndindex(height, width):
            pictures += [int(one[y, x, channel]) for one in each for channel in range(deep)]
    return (*numbers, *pictures)


def flat(seen):
    """Return observations as columns: numbers, or numbers and then every picture's bytes."""
    if not isinstance(seen, Seen):
        return [seen]
    return [seen.numbers, *(image.reshape(len(image), -1) for image in seen.images)]


class World:
    """One world's whole history, and which transitions a ring of some rows keeps of it."""

    def __init__(self, first):
        self.numbers = itertools.count(first)
        self.rows = []
        self.newest = next(self.numbers)

    def play(self, events):
        """Return the rows of some steps; each one goes on, terminates or truncates."""
        rows = []
        for event in events:
            rows.append(Row(self.newest, terminated=event == "terminate", last=False))
            self.newest = next(self.numbers)
            if event != "go on":
                rows.append(Row(self.newest, terminated=False, last=True))
                self.newest = next(self.numbers)
        self.rows += rows
        return rows

    def kept(self, capacity):
        """Return the rows that a ring of this capacity still has, and the newest observation."""
        return [*self.rows[-capacity:], Row(self.newest, terminated=False, last=True)]

    def windows(self, capacity, steps, layout):
        """Return (obs, action, return, discount, final obs) of the windows still kept."""
        kept = self.kept(capacity)
        return [
            self.window(kept, start, steps, layout)
            for start, row in enumerate(kept)
            if not row.last
        ]

    def window(self, kept, start, steps, layout):
        """Return the window that starts at one of these rows."""
        rows = kept[start:]
        total, discount, taken = 0.0, 1.0, 0
        while taken < steps and not rows[taken].last:
            row = rows[taken]
            total += discount * row.reward
            discount *= GAMMA
            taken += 1
            if row.terminated:
                discount = 0.0
                break
        first, end = (seen_at(kept, place, layout) for place in (start, start + taken))
        return (*first, *rows[0].action, total, discount, *end)


class Members:
    """A stream of some members' worlds beside their histories."""

    def __init__(self, members, worlds, capacity, steps=1, layout=PLAIN):
        self.capacity, self.steps, self.layout = capacity, steps, layout
        self.stream = init_stream(capacity, members, worlds, layout, ACTION)
        self.histories = [
            [World(1000 * (member * worlds + world)) for world in range(worlds)]
            for member in range(members)
        ]

    def play(self, events, slots=SLOTS):
        """Play a chunk: a list of events for each member and world."""
        shape = (len(self.histories), len(self.histories[0]), slots)
        rows = Rows(
            obs=np.full((*shape, self.layout.size), JUNK_OF[self.layout.dtype], self.layout.dtype),
            action=np.full((*shape, ACTION), JUNK, np.float32),
            reward=np.full(shape, JUNK, np.float32),
            terminated=np.ones(shape, bool),
            last=np.zeros(shape, bool),
            count=np.zeros(shape[:2], np.int32),
        )
        for index in np.ndindex(shape[:2]):
            history = self.histories[index[0]][index[1]]
            played = history.play(events[index[0]][index[1]])
            # The newest observation stands behind the rows that count.
            for time, row in enumerate([*played, Row(history.newest, terminated=False, last=True)]):
                rows.obs[(*index, time)] = stored_as(self.layout, row)
                rows.action[(*index, time)] = row.action
                rows.reward[(*index, time)] = row.reward
                rows.terminated[(*index, time)] = row.terminated
                rows.last[(*index, time)] = row.last
            rows.count[index] = len(played)
        self.stream = APPEND(self.stream, rows)

    def expected(self, member):
        """Return the windows that each world of a member should have, oldest first."""
        histories = self.histories[member]
        share = -(-self.capacity // len(histories))
        return [history.windows(share, self.steps, self.layout) for history in histories]

    def stored(self, member):
        """Return the windows that each world of a member has, oldest first."""
        stream = jax.tree.map(np.asarray, self.stream)
        ring = stream.rows_per_world
        age = np.arange(ring - 1)[::-1]
        found = []
        for world, (head, size) in enumerate(
            zip(stream.head[member], stream.size[member], strict=True)
        ):
            slot = (head - 1 - age) % ring
            valid = (age < size) & startable(stream.flags[member, world, slot])
            place = jnp.int32(member), np.full_like(slot, world)
            batch = WINDOWS(self.stream, *place, slot, valid, steps=self.steps, gamma=GAMMA)
            found.append(list(itertools.compress(as_tuples(batch), valid)))
        return found

    def sample(self, member, shape, seed=0):
        """Return a batch of windows of a member."""
        key, steps = jax.random.key(seed), self.steps
        return draw(self.stream, key, jnp.int32(member), shape, steps, GAMMA)

    def drawn(self, member, count=256, seed=0):
        """Return sampled windows of a member, without the slots of weight 0."""
        batch = self.sample(member, (count,), seed)
        return list(itertools.compress(as_tuples(batch), np.asarray(batch.weight) == 1))


def as_tuples(batch):
    """Return a batch as one tuple of numbers per slot, without the weight."""
    batch = jax.tree.map(np.asarray, batch)
    obs, next_obs = flat(batch.obs), flat(batch.next_obs)
    table = np.column_stack([*obs, batch.action, batch.reward, batch.discount, *next_obs])
    return [tuple(row) for row in table.tolist()]
