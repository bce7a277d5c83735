"""Real vLLM for machines without a GPU, from PyPI only; and what our demo adds to it (`middleware/`)."""
