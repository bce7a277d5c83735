"""`kubectl-sluice`: what people ask of Sluice and order, one command a file. What is decided, the operator decides."""
