"""Training of adapters: what the Jobs of a TrainingRun are made of.

Belongs here: configuration, files, tokenised batches, the trainer, checkpoints, the published adapter. Does not belong here: what
a decision is worth (trading/), and anything that talks to Kubernetes. It imports trading alone of all tradewind packages.
"""
