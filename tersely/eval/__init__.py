"""Evaluation: decoding strategies, metrics, intervals and tests, reports."""
