"""The domain, pure: decisions, prompts, labels, assignment, evidence. No input, no output, no clock, no randomness."""
