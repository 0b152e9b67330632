"""Errors that end a command, each with the exit code that a script can rely on."""


class RewireError(Exception):
    """Base of all errors that are the user's to mend; ``exit_code`` is what the process returns."""

    exit_code = 1


class ConfigError(RewireError):
    """The command line or an experiment file asks for something that is not there (exit 2)."""

    exit_code = 2


class DataError(RewireError):
    """A data set is missing, or a file is not what its name says (exit 3)."""

    exit_code = 3


class Diverged(RewireError):
    """Training produced NaN or infinity (exit 4)."""

    exit_code = 4


class StoreError(RewireError):
    """The run folder cannot be read or written, or is damaged (exit 5)."""

    exit_code = 5


class Locked(RewireError):
    """Another process works in this run folder (exit 6)."""

    exit_code = 6
