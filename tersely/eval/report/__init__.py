"""report.json, report.md and report.html, and the figures in them."""
