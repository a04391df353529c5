"""A search over config keys on validation: points, trials, Optuna's study, its page."""
