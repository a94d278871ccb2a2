"""Reading runs: curves, intervals, histories."""
