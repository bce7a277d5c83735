//go:build tools

// Package tools pins containerd and its two helpers: they are built from their own main packages, see hack/cluster/binaries.py.
package tools

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
