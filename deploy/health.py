"""Exit with 0 if a server answers: ``health.py HOST:PORT [CA.CRT]``; for the health checks of containers."""

import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection


def answers(address: str, authority: str | None) -> bool:
    """Tell whether ``GET /health`` is answered with 200, over TLS if an authority is given."""
    if authority:
        context = ssl.create_default_context(cafile=authority)
        connection: HTTPConnection = HTTPSConnection(address, timeout=5, context=context)
    else:
        connection = HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException) as error:
        print(f"{address} does not answer: {error}")
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None) else 1)
