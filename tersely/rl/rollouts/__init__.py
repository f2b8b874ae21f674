"""From prompts to scored rollouts: prompts, requests, grading, resampling, the record of each row."""
