"""Reading a video, wherever it is stored: files, folders of frames, shards, sections of long ones."""
