"""What can go wrong; the command line makes a message and an exit code of it."""

import warnings

# What code of the user's raises when it fails: sys.exit() in it ends nothing without a word.
FAILURES = (Exception, SystemExit)


class QmuError(Exception):
    """A failure with a message for the user.

    `exit_code` is what the command line returns, `status` what the run's description says.
    """

    exit_code = 1
    status = "failed"

    def told(self) -> str:
        """Return what a person is told: the message, and the notes that were added on its way."""
        return "\n".join([f"qmu: {self}", *getattr(self, "__notes__", [])])


class ConfigError(QmuError):
    """The request cannot be carried out as it stands: nothing was started, nothing written."""

    exit_code = 2


class WorldError(QmuError):
    """A world raised or returned something impossible while it was being stepped."""


class DivergedError(QmuError):
    """Learning led to weights that are not finite."""

    status = "diverged"


class LostRunError(QmuError):
    """The folder that a run writes into is gone: nothing more can be saved there."""


class UnsavedError(QmuError):
    """A run came to its end, and not all of what it had learned could be written."""

    status = "unsaved"


class StoppedError(QmuError):
    """The process was asked to end, and has saved what there was."""

    exit_code = 143
    status = "stopped"


def warn(text: str) -> None:
    """Tell of something that ends nothing."""
    warnings.warn(text, RuntimeWarning, stacklevel=2)


def told(error: BaseException) -> str:
    """Return an exception in words: its kind, and what it says."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def lacking(what: str, extra: str, error: ImportError) -> ConfigError:
    """Return what to raise where something needs packages of an extra that are not installed."""
    return ConfigError(f"{what} needs qmu's extra {extra} ({error}): pip install 'qmu[{extra}]'")
