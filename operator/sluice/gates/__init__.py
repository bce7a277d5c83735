"""Live metric gates: from attempt counters to a verdict. Pure: no I/O, no clock, no logging."""
