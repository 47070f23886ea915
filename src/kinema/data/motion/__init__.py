"""The built-in dataset."""
