"""What the operator tells about itself: logs, metrics, health. It knows nothing of what it reports on."""
