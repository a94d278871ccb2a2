"""Where agents and server run: on Ray or in this process."""
