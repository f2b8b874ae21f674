"""`python -m tersely` is `tersely`."""

from tersely.launch.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
