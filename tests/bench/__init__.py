"""Benchmarks: scripts that measure the real thing, print a table and write `build/bench/<name>.json`. Nothing is asserted."""
