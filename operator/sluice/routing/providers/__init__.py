"""External providers, one API a file."""
