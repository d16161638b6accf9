"""One file a version, raw SQL. Expand first, contract one release later: the operator before must run on this schema."""
