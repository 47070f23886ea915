"""Dividing samples into training and validation."""
