"""Evaluation before traffic: a served version asked about recorded decisions whose end is known, beside the champion.

    rows (log or files) --questions--> version, champion --answers--> measures, papers on bars --> numbers for gates

Here belongs what the Job does with rows and answers, pure but for `bars` and `rows`, which read files. Gates are the operator's.
"""
