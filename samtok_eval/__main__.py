"""`python -m samtok_eval` is the console script `samtok-eval`."""

from samtok_eval.cli.main import main

main()
