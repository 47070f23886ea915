"""Looking at every file of a dataset before it is trained on: what one gives, and what is wrong with them together."""
