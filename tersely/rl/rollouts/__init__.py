"""From prompts to scored rollouts: prompts, requests, grading, resampling, and the record of each row."""
