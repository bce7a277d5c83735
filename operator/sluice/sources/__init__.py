"""Readings of what proxies and engines measured, one source a file. No judgement: that is `gates`."""
