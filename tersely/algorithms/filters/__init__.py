"""Which groups train at all."""
