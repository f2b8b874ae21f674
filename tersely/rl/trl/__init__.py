"""TRL: its GRPOTrainer, the supported versions, the methods that we override, and the fields that have no effect here."""
