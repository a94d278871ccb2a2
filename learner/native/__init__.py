"""The fast forms of the equations, in C; no equation imports them (`forms.py`, `ops.py`)."""
