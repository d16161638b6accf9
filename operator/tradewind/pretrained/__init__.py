"""What training and serving must see alike in a base model: its files, its weights, its tokens, what a server can serve.

Belongs here: what would be two opinions if trainer and predictor had one each. Does not belong here: training, decoding, and how
either of them ends (`UnfitError` carries the exit code and the words; they put them into their own errors).
"""
