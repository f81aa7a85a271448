"""Hand a bead to an AI agent by assigning it."""
