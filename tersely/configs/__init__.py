"""Presets and recipes (YAML files), and their loader."""
