"""Envoy's view: the routing IR as xDS resources, and the server that hands them to the proxies."""
