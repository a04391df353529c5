"""The one training loop and its parts: optimizer and learning rate, resume points, TensorBoard, progress."""
