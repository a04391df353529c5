"""SAM itself: architectures, weights, the batched forward, mask rules, and the two learners that train it."""
