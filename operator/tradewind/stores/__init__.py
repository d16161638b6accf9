"""Folders in object stores (`s3://`, `oss://`): fetched and verified, published whole or not at all.

Belongs here: requests to stores, credentials, hashes of what comes and goes. Does not belong here: what the files mean
(pretrained, predictor, training), which folders a pod has (core/manifests/stores.py).
"""
