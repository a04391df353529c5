"""From samples to batches: augmentation, framing, sampling, loading."""
