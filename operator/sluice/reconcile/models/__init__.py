"""Reconciles ModelDeployments: revisions, their pods and their rollout."""
