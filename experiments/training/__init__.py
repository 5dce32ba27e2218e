"""Training of many replicas, from a preset to tables and networks."""
