"""bd: its verbs, one run of it, and the environment that it runs in."""
