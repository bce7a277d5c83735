"""One scorer a module: an answer and its reference in, right or wrong out."""
