"""One spelling for what can be typed in many ways."""
