"""What every package shares: the contracts between them, geometry, losses, weight files, provenance; imports none of them."""
