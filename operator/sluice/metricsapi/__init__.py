"""`sluice metrics`: reads vLLM pods by itself and answers HPAs as the cluster's `custom.metrics.k8s.io`.

Each replica works alone: nothing is shared or stored. What the metrics are is `workloads.pod_metrics`' business.
"""
