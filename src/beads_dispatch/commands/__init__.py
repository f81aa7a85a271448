"""The commands: one file for each, what they print, their arguments and manual, and how everything is wired."""
