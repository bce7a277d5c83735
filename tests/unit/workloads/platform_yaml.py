"""The platform's configuration as tests write it: in YAML, as people do."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from sluice.workloads import platform_config


def parse(data: Mapping[str, str]) -> platform_config.Config:
    """The configuration in the ConfigMap's data."""
    return platform_config.parse({key: yaml.safe_load(text) for key, text in data.items()})
