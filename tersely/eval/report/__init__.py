"""Builds report.json, report.md and report.html, and their figures."""
