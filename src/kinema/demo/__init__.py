"""The demo: three networks on the built-in dataset, and a report on whether they see time."""
