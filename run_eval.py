"""`python run_eval.py --task gres`: a shim over `samtok-eval run`."""

from samtok_eval.cli.main import main_run

if __name__ == "__main__":
    main_run()
