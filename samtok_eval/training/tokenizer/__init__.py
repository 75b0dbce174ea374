"""Training of the mask tokenizer: recipe, streams of masked pictures, losses, trainer, state, log."""
