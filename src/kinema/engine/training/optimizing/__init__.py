"""How weights move: rates, what stays as it is, the shares of a step, averages."""
