"""Offline evals: build the Job, read its result, judge it. Pure: no I/O, no clock, no logging."""
