"""The four custom resources as typed models, and the names and conventions every other package shares.

Pure data: nothing here reads a clock, a file or the network. `crdgen` turns these models into `crds/*.yaml`.
"""
