"""The same functions in C. They import the reference, never the other way round."""
