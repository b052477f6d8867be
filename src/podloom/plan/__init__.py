"""Decisions, pure: inputs are values, outputs are values; clock, randomness and environment are arguments."""
