"""The recipes that made the bundled checkpoint, on scenes of the demo world."""
