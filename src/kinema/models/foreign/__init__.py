"""Weights of other projects: reading them without letting them run, and turning them into our own."""
