module sluice.dev/hack/pause

go 1.22
