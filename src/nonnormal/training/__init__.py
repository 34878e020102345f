"""Training: loop, checkpoints, several processes, speed."""
