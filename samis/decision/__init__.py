"""From maps to decisions: scores and verdicts of whole images, calibrated thresholds that keep a promise."""
