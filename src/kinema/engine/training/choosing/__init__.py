"""What a recipe leaves open, decided by the data and the machine."""
