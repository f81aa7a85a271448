"""The runner on this machine: one process for each bead, in the folder where the watcher was started."""
