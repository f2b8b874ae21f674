"""Scorers: functions that grade the answers of data with many solutions, or with rules of its own."""
