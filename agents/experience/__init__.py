"""Acting, remembering, drawing segments."""
