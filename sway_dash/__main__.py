"""``python -m sway_dash`` is the command line."""

from sway_dash.cli.app import main

if __name__ == "__main__":
    main()
