"""Reconciles Gateways: their proxies' pods, and what the proxies run."""
