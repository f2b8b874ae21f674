"""Filters: select the groups to train on."""
