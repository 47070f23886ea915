"""Making datasets of datasets: frames, other files, shards; what is interrupted and started again goes on."""
