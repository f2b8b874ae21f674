"""Presets and recipes, as YAML."""
