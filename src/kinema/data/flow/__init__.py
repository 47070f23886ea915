"""Optical flow: extracting it, its layouts on disk, reading it."""
