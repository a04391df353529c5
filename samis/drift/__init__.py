"""Whether new photos are like those a model was tuned on."""
