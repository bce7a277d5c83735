"""Tools of the project's own development: the embedded cluster, images, models and generated files.

Nothing in here is part of the installed operator, and the operator imports nothing from here.
"""
