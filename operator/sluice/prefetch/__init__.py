"""`sluice prefetch`: downloads models and adapters into a cache that pods share. Runs in an init container of engine pods."""
