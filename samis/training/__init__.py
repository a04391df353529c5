"""The one training loop and what belongs to it: optimizer and rate, resume points, TensorBoard, progress."""
