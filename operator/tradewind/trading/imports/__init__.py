"""History from elsewhere: rows of other systems become decisions and outcomes of ours, or problems that say what is wrong.

A source (`seed.py`, `freqtrade.py`, `mapping.py`) gives each row's values the names that they have here, a `Draft`; `build.py`
reads and checks them, all sources alike; `tally.py` counts. Nothing is repaired and nothing guessed: a row is taken as it stands
or refused with its field. What is imported is never evidence: it lives in tables of its own, which only trainings read.

Belongs here: pure functions from text and values to records. Does not belong here: files (cli/import_files.py), SQL
(shell/imported.py), what a training makes of the records (trading/dataset.py).
"""
