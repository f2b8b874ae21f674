"""What every other package stands on, pure: types, group statistics, prompt memory, `build`, errors, seeds, paths."""
