"""What a run would stumble over, said before it is paid for."""
