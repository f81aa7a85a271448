"""The three jobs, dispatcher, reaper and watcher, and what they share."""
