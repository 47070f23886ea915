"""Checkpoints, and what a run must know to go on from one as if it had never stopped."""
