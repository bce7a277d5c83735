"""Readings of what serves: one source a file. Numbers only; what they mean is decided in `gates`."""
