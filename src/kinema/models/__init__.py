"""Video networks: a 2D backbone, its sites, the temporal layers put there, and the head."""
