"""Scorers: functions that grade answers to problems with many solutions or special rules."""
