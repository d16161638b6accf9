"""Placeholder."""
from cluster.layout import Layout
from cluster.kube import Kube
from cluster.progress import Progress
def run_all(layout: Layout, kube: Kube, progress: Progress) -> None: ...
