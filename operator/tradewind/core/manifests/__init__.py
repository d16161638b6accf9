"""Builders of child manifests: one a child kind, pure, the same input gives the same text. None means: not desired."""
