"""Evaluation: metrics, intervals, benchmarks, reports."""
