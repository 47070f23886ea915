"""What is looked at while a run goes on: curves, time, lost numbers."""
