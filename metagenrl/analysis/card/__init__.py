"""The card of an objective: what it is, how it was made, what it reached, what it is not for."""
