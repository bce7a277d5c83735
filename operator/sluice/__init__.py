"""Sluice: runs self-hosted LLMs on Kubernetes and promotes or rolls back each model revision by measured evidence."""
