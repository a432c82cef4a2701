"""How a member acts while rows are collected: at random, then with its noise."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qmu.agent.exploration import (
    Bools,
    Floats,
    adapted,
    distance,
    explore,
    noise_of,
    perturb,
    scales,
    uniform_actions,
)
from qmu.config import Explore
from qmu.deploy.past import State, after, begun_anew, initial_state
from qmu.deploy.policy import Acts, Network

# The size of the parameter noise is adapted once per so many observations, and measured on them
# (every 50 updates in the reference implementation of Plappert et al. 2018).
MEASURED_ON = 50
# Its first size is searched for, from this one on, in so many steps of 1% at most.
FIRST_SIZE, SEARCH = 0.1, 1000


class PerturbedActors:
    """Parameter noise: in every world an actor whose weights are perturbed for an episode.

    Normalizations are left alone. The size of the noise is adapted so that perturbed and plain
    actions are as far apart as wanted (Plappert et al. 2018).
    """

    def __init__(self, generator: np.random.Generator, worlds: int) -> None:
        """Begin without a size: the first observations decide it."""
        self.generator = generator
        self.size: float | None = None
        self.worlds = range(worlds)
        self.actors: list[Network | None] = [None] * worlds
        self.seen: list[Floats] = []

    def begin(self, network: Network, wanted: float) -> None:
        """Take the newest actor, and how far actions should be apart."""
        self.network, self.wanted = network, wanted

    def __call__(self, seen: Floats, started: Bools) -> Floats:
        """Return each world's action [worlds, action], of its perturbed actor."""
        self.seen.extend(seen)
        if len(self.seen) >= MEASURED_ON:
            self.adapt(np.stack(self.seen))
            self.seen = []
        return np.stack(
            [self.action(world, seen[world], started[world]) for world in range(len(seen))]
        )

    def action(self, world: int, seen: Floats, started: np.bool_) -> Floats:
        """Return the action of one world, whose actor stays the same until its episode ends."""
        actor = self.actors[world]
        if self.size is None:
            return self.network(seen)
        if actor is None or started:
            actor = perturbed(self.generator, self.network, self.size)
            self.actors[world] = actor
        return actor(seen)

    def adapt(self, seen: Floats) -> None:
        """Change the size towards the wanted distance on what was seen [rows, obs]."""
        plain = self.network(seen)

        def measured(size: float) -> float:
            return distance(plain, perturbed(self.generator, self.network, size)(seen))

        if self.size is None:
            self.size = first_size(measured, self.wanted)
        else:
            self.size = adapted(self.size, measured(self.size), self.wanted)


def first_size(measured: Callable[[float], float], wanted: float) -> float:
    """Return the first size, beginning with `FIRST_SIZE`, at which the distance passes `wanted`."""
    size, apart = FIRST_SIZE, measured(FIRST_SIZE)
    below = apart <= wanted
    for _ in range(SEARCH):
        if (apart <= wanted) != below:
            break
        size = adapted(size, apart, wanted)
        apart = measured(size)
    return size


def perturbed(generator: np.random.Generator, network: Network, size: float) -> Network:
    """Return the network with noise of this size on its weights and biases."""
    noisy = dataclasses.replace(
        network,
        weights=perturb(generator, network.weights, size),
        biases=perturb(generator, network.biases, size),
    )
    if network.projections is None:
        return noisy
    projections = []
    for projection in network.projections:
        if projection is not None:
            weight, bias = perturb(generator, projection, size)
            projection = weight, bias
        projections.append(projection)
    return dataclasses.replace(noisy, projections=tuple(projections))


class Behaviour:
    """One member's way of acting, chunk after chunk, with random numbers of its own."""

    def __init__(
        self,
        seed: np.random.SeedSequence,
        settings: Explore,
        worlds: range,
        count: int,
        longest: int | None,
    ) -> None:
        """Begin with nothing carried along.

        Args:
            seed: the member's.
            settings: how its worlds are explored.
            worlds: which of them are here.
            count: how many it has in all.
            longest: steps of an episode at most, if that is known.
        """
        self.generator = np.random.default_rng(seed)
        self.worlds, self.count = worlds, count
        self.noise = noise_of(settings.noise, longest)
        # What the actor carries along each world's episode; every chunk may bring another actor.
        self.carried: State = ()
        self.perturbed = (
            None
            if settings.parameter_distance is None
            else PerturbedActors(self.generator, len(worlds))
        )

    def begin(
        self, network: Acts, settings: Explore, random_steps: int, shape: tuple[int, ...]
    ) -> None:
        """Prepare a chunk [steps, worlds, action], whose first `random_steps` are random.

        The settings are those that hold now: scales of noise may change with time.
        """
        self.network, self.settings, self.random_steps = network, settings, random_steps
        if not self.carried:
            self.carried = initial_state(network.past, shape[1])
        if self.perturbed is not None and settings.parameter_distance is not None:
            assert isinstance(network, Network)
            self.perturbed.begin(network, settings.parameter_distance)
        if random_steps > 0:
            self.random = uniform_actions(self.generator, shape)
        self.noise.draw(self.generator, shape, settings, scales(settings, self.worlds, self.count))
        if settings.epsilon > 0:
            self.replaced = self.generator.random(shape[:2]) < settings.epsilon
            self.replacing = uniform_actions(self.generator, shape)

    def state(self) -> dict[str, Any]:
        """Return all that outlasts an episode, but for what `seen` returns, as JSON holds it."""
        size = None if self.perturbed is None else self.perturbed.size
        return {"generator": self.generator.bit_generator.state, "size": size}

    def seen(self) -> list[Floats]:
        """Return what was seen that the size of the parameter noise will be measured on."""
        return [] if self.perturbed is None else self.perturbed.seen

    def restore(self, state: Mapping[str, Any], seen: Floats) -> None:
        """Become what `state` and `seen` were of, at the beginning of an episode."""
        self.generator.bit_generator.state = state["generator"]
        if self.perturbed is not None:
            self.perturbed.size = state["size"]
            self.perturbed.seen = list(seen)

    def act(self, time: int, obs: Floats, rewards: Sequence[float], started: Bools) -> Floats:
        """Return the actions [worlds, action] of a step of the chunk, in [-1, 1].

        `rewards` [worlds] are those of the step before; `started` marks the worlds of which these
        are the first observations of an episode.
        """
        state = self.carried
        if state:
            reward = np.array(rewards, np.float32)
            state = begun_anew(after(self.network.past, state, reward=reward), started)
        if time < self.random_steps:
            state = self.network.remember(obs, state)
            action = self.random[time]
        else:
            seen, state = self.network.see(obs, state)
            action = self.network(seen) if self.perturbed is None else self.perturbed(seen, started)
            action = explore(action, self.noise.at(time, started))
            if self.settings.epsilon > 0:
                action = np.where(self.replaced[time][:, None], self.replacing[time], action)
        if state:
            self.carried = after(self.network.past, state, action=action)
        return action
