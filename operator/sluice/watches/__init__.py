"""Keeps the cache equal to the cluster. The only package that imports kopf."""
