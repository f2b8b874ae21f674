"""From rewards to advantages, one method a file."""
