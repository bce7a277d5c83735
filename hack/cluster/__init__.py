"""A real one-node Kubernetes without Docker and without a registry, and the two alternatives to it (kind, an existing cluster).

`python -m hack.cluster up` starts it, `embedded.py` is its Python interface; `binaries.py` builds what it runs from source.
"""
