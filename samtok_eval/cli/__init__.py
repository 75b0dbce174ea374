"""The command line: `main` holds the program, every other module one family of commands."""
