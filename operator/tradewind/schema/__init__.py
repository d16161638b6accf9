"""How a value, a field and a rule are said: once, for the API server, for files and for every program of Tradewind.

The lowest layer. It knows no kind, no statistic and no trade.
"""
