"""Copied into the machine: sends reports and messages in turn, each on its own connection, and tells what came back.

caller.py NAME COUNT AT_ONCE PAUSE: prints {"answers": {"200 stored": 3}, "slowest": 0.1, "unanswered": [2]}
"""

import http.client
import itertools
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
NUMBER = "31687654321"
AT = "20260302104158"


def ask(secret: str, name: str) -> str:
    """One callback; status and outcome, or what went wrong."""
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=45)
    try:
        if name.endswith(("1", "3", "5", "7", "9")):
            body = f"MSISDN={NUMBER}&SHORTCODE=3010&PARM=canarytext-{name}&TIMESTAMP={AT}"
            connection.request("POST", f"/in/spryng/mo/{secret}", body, FORM)
        else:
            query = f"ID={name}&RECIPIENT={NUMBER}&STATUS=10&OPERATOR_STATUS_AT={AT}"
            connection.request("GET", f"/in/spryng/dlr/{secret}?{query}", headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return f"{answer.status} {answer.headers.get('Receiver-Outcome', '')}".strip()
    except OSError as fault:
        return type(fault).__name__
    finally:
        connection.close()


def main(name: str, count: int, at_once: int, pause: float) -> None:
    """Send so many, and print what came of them."""
    secret = Path("/etc/receiver/secrets/spryng").read_text().strip()
    numbers, turn, answers, times, unanswered = itertools.count(), threading.Lock(), Counter[str](), [0.0], list[int]()

    def send() -> None:
        while True:
            with turn:
                number = next(numbers)
            if number >= count:
                return
            began = time.monotonic()
            answer = ask(secret, f"{name}-{number}")
            times.append(time.monotonic() - began)
            answers[answer] += 1
            if not answer.startswith("200"):
                unanswered.append(number)
            time.sleep(pause)

    threads = [threading.Thread(target=send) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps({"answers": answers, "slowest": round(max(times), 2), "unanswered": unanswered}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
