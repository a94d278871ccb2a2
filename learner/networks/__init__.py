"""Networks and their derivatives in torch: the reference of everything."""
