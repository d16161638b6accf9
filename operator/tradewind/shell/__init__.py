"""The only code that touches the world: kopf, the Kubernetes API, SQL, HTTP, the clock."""
