"""`python -m tersely` is `tersely`."""

from tersely.launch.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
