"""Fuzzing: every reader and every writer against damaged files, hostile names and answers that no model should give.

`targets` says what is read, `mutations` how it is damaged, `campaign` runs cases in worker processes, `corpus` holds
the inputs that broke something once. `make fuzz` runs it for `FUZZ_MINUTES`, `make test` some seeded seconds of it.
"""
