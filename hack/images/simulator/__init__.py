"""A stand-in for vLLM where real vLLM cannot run: the same command line, API and metric names, answers from a table.

It is for the demo on such machines only. What it measures says nothing about vLLM, and reports say that it was used.
"""
