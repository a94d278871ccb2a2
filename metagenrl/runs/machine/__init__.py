"""What a run needs of its machine, and what another machine changes."""
