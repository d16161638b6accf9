"""A real single-node Kubernetes with KServe for the demo and the tests, in a network namespace of its own.

Here belong the driver and everything it starts; what runs *in* the cluster (the operator, the demo) does not.
The driver needs nothing but the standard library, because it runs before any virtual environment exists.
"""
