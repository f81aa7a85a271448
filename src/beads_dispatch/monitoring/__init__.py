"""What the watcher shows to a cluster: health and metrics."""
