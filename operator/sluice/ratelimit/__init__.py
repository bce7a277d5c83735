"""Rate-limit algorithms, one a file: what a limit's amounts mean, free of proxies."""
