"""What the loop tells: rows, snapshots, machine."""
