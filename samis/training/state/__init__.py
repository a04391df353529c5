"""What a training keeps on disk: run folder, lock, resume points, steps."""
