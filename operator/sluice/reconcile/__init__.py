"""Per kind: gather what is, decide by pure functions what should be, apply the difference, write status once."""
