"""The demo world: scenes, the questions that can be asked about them, and its language."""
