"""Everything that talks to the Kubernetes API server: the only importer of the `kubernetes` package.

Objects are plain dicts, as JSON has them. What they mean is decided elsewhere.
"""
