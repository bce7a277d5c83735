"""HTTP filters of the gateway's listener, one a file."""
