"""What a shell needs to know of the commands."""
