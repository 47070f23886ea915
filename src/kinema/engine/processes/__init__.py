"""Several processes of one run: starting them, telling them apart, what they tell each other."""
