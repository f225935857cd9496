"""The hub's process for long work: following summaries, and retraining."""
