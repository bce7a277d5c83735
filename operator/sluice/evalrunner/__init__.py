"""What runs inside an eval Job: asks the model, scores its answers, leaves counts behind."""
