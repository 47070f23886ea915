"""From a video file to a clip: reading, views, datasets."""
