"""Tradewind: trains, serves and A/B tests language models for trading on Kubernetes."""
