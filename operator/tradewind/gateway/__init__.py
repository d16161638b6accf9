"""The decision gateway: the endpoint that the trading system calls. Imports `tradewind.trading` alone."""
