"""`python -m receiver`: the command `receiver`."""

from receiver.cli import main

if __name__ == "__main__":
    main()
