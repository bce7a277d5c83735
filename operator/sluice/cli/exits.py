"""How kubectl-sluice ends: exit codes that scripts can rely on, and the one exception that carries them."""

from __future__ import annotations

import enum

from sluice.kube import connection, errors


class Exit(enum.IntEnum):
    """Exit codes. They are part of the interface: none changes its meaning."""

    DONE = 0
    """Done; of `watch`: the revision was promoted; of `validate`: nothing was found."""
    FAILED = 1
    """Something else went wrong; the message says what."""
    USAGE = 2
    """The command line, or a file that it names, cannot be used."""
    NOT_FOUND = 3
    """There is no such ModelDeployment or revision."""
    FORBIDDEN = 4
    """The API server does not know you, or does not let you."""
    REFUSED = 5
    """The order was refused, by the operator, a policy or this command: what is asked for does not fit the state."""
    TIMED_OUT = 6
    """`--timeout` is over. An order stands all the same."""
    ROLLOUT_FAILED = 7
    """Of `watch`: the revision was rolled back or rejected."""
    SUPERSEDED = 8
    """Of `watch`: another revision was asked for."""
    INVALID = 9
    """Of `validate` and `render`: a file would be refused, or would not work."""
    UNREACHABLE = 10
    """The API server does not answer."""
    INTERRUPTED = 130
    """Ended by Ctrl-C."""


class Failure(Exception):  # noqa: N818 - it is how a command ends, not always an error
    """Ends the command with a code and a message for people."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


def from_error(error: errors.KubeError) -> Failure:
    """The end that an error of the API server, or on the way to it, comes to."""
    return Failure(_code(error), f"{error}{_fix(error)}")


def _code(error: errors.KubeError) -> Exit:
    match error:
        case connection.NotConfigured():
            return Exit.USAGE
        case errors.NotFound():
            return Exit.NOT_FOUND
        case errors.Forbidden() | errors.Unauthorized():
            return Exit.FORBIDDEN
        case errors.Invalid() | errors.Conflict():
            return Exit.REFUSED
        case errors.Transient():
            return Exit.UNREACHABLE
    return Exit.FAILED


def _fix(error: errors.KubeError) -> str:
    match error:
        case errors.Unauthorized():
            return ". Log in again: the credentials of this kubeconfig context are not accepted"
        case errors.NotFound() if "could not find the requested resource" in error.detail:
            return ". Is Sluice installed in this cluster? Its CRDs are not"
    return ""
