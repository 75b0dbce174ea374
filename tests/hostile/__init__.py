"""Nothing foreign is run, hangs, or takes the memory: every attack on a reader ends in one clear error.

Files of benchmarks, predictions and a model's texts are data of strangers. Whatever stands in them, reading them gives
what they say or a `DataError`. Attacks that could end the process are made in a process of their own, with bounded
memory and time.
"""
