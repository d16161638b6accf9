"""The KServe model server: loads a verified model, writes decisions under a grammar, answers the v1 protocol.

Here belongs what runs inside an InferenceService's container. It imports `trading` alone: no cluster, no database.
"""
