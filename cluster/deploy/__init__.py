"""Clusters: `ray up`, Kubernetes, the head's Redis."""
