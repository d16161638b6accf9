"""What users write: the kinds of `tradewind.dev/v1alpha1` as frozen pydantic types, and their CRDs.

Belongs here: fields, bounds, rules, reading manifests, YAML of the CRDs. Does not belong here: what the operator decides
(core/) or does (shell/).
"""
