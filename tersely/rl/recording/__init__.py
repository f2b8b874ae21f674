"""Records a run: metrics, completions and model card on disk, progress on the terminal."""
