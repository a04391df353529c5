"""What is wrong with a data set, reported before anything is trained on it."""
