"""Tiny models that we train ourselves, so that the demo and the tests serve real weights: no download, known answers."""
