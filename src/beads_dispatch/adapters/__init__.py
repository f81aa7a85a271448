"""One module for each thing outside: each translates that thing's answers and errors once."""
