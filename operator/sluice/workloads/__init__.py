"""Pure builders of the Kubernetes objects that run models and proxies: spec in, object out."""
