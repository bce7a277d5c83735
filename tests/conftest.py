"""What holds for every test: hypothesis judges by the outcome, never by the clock, and alike on every machine of CI."""

from __future__ import annotations

import os

import hypothesis

# No deadline: machines are shared. Derandomised in CI, so that a red run is red again on the next machine.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")
