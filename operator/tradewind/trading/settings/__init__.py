"""Settings that users write once and API, Jobs and the pure domain share: one type, one set of bounds, its CEL beside it.

Decimals and durations are text here, in manifests and on the wire; whoever computes with one converts it there.
Does not belong here: what one program alone is told (paths, ports, a kind's own fields) and what a setting does.
"""
