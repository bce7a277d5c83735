"""The one error of the cluster tools: something outside of them is missing or failed, and one sentence says what to do."""


class ClusterError(Exception):
    """A cluster cannot be built, started or stopped; the message is one sentence, "Cannot <verb> <object>: <cause>"."""
