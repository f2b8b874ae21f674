"""Entry point of `python -m tersely`: the same as the command `tersely`."""

from tersely.launch.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
