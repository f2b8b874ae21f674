"""What a rollout is asked, and what it must begin with, one method a file."""
