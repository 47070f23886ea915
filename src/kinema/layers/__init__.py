"""Temporal layers, one paper a file; they know clips and convolutions, and nothing of backbones."""
