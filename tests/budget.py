"""What `make test` has time for, and what is left to `make test-all`."""

import pytest
from hypothesis import settings

# Examples of a property: few in every run, many before an issue is called resolved.
PROFILES = {"ci": 25, "full": 100}


def examples(few, many):
    """Return how many examples a property that is dear gets, by the profile in force."""
    return many if settings.get_current_profile_name() == "full" else few


def some(values, short):
    """Return a test's parameters, all but the short ones marked as long; tuples are several."""
    return [
        value
        if value in short
        else pytest.param(*value if isinstance(value, tuple) else [value], marks=pytest.mark.long)
        for value in values
    ]
