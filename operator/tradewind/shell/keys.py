"""By which columns every statement about one Endpoint begins."""

from typing import Final

OF_ENDPOINT: Final = "installation = %(installation)s AND namespace = %(namespace)s AND endpoint = %(endpoint)s"
