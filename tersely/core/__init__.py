"""Pure modules that every other package uses: types, group statistics, prompt memory, `build`, errors, seeds, paths."""
