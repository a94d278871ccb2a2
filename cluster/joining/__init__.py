"""How a driver comes to a Ray: which one it joins, what its nodes can import, how long it waits."""
