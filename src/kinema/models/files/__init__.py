"""Reads files of weights that other programs wrote, and runs nothing in them."""
