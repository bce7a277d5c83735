"""Container images without Docker and without a registry: `python -m hack.images build all` writes OCI layout tars.

`build.py` is the interface; what goes into each image is in `catalogue.py`. Importing them is the cluster's
part.
"""
