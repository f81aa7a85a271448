"""The decisions: pure functions over typed, frozen values. Imports no adapter, no clock and no environment."""
