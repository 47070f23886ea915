"""Ours beside what papers print."""
