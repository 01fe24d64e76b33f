"""`python -m sdedge` is the command `sdedge`."""

from sdedge.cli.main import main

if __name__ == "__main__":
    main()
