"""What can be judged of manifests without a cluster: schemas and rules, how objects fit together, samples that suffice."""
