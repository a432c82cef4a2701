"""Something that acts: a plain function of observations."""

from qmu.deploy.past import Past
from qmu.layout import Layout


class Acting:
    """Acts by a function of observations [batch, obs], without a past."""

    def __init__(self, function, size=1):
        self.function, self.layout = function, Layout(size)
        self.past = Past(self.layout)

    def see(self, obs, state):
        return obs, state

    def remember(self, obs, state):
        return state

    def __call__(self, seen):
        return self.function(seen)
