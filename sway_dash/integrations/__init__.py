"""The engine inside other tools: the Trainer, pytest, experiment trackers. Each imports its tool late."""
