#!/usr/bin/env python3
"""table.py RESULTS: prints what each SDK was seen to do through Keyside. A cell that neither a test filled nor a reason is an error.

RESULTS has a line `SDK<tab>BEHAVIOUR` for each test that passed.
"""

import pathlib
import sys

BEHAVIOURS = ("send", "media in", "media out", "read", "status", "refused key", "throttle", "own 429", "own 403")

OUTSIDE = "events have a URL of media outside the API"
ONLY_EVENTS = "the provider tells states by events alone"
NO_METHOD = "the SDK has no method for it"

# The cells that an SDK cannot have, with the reason. `read` is "mark as read" or the sign of typing.
ABSENT = {
    "pywa": {"status": ONLY_EVENTS},
    "whatsapp-api-js": {"status": ONLY_EVENTS},
    "@great-detail/whatsapp": {"status": ONLY_EVENTS},
    "@kapso/whatsapp-cloud-api": {"status": ONLY_EVENTS},
    "twilio (Python)": {},
    "twilio (Node)": {},
    "vonage (Python)": {"status": ONLY_EVENTS},
    "@vonage/messages": {"status": ONLY_EVENTS},
    "infobip-api-python-client": {"media in": NO_METHOD, "read": NO_METHOD},
    "@infobip-api/sdk": {"status": NO_METHOD},
    "plivo (Python)": {"read": NO_METHOD},
    "plivo (Node)": {"read": NO_METHOD},
    "telnyx (Python)": {"media in": OUTSIDE, "read": NO_METHOD},
    "telnyx (Node)": {"media in": OUTSIDE, "read": NO_METHOD},
    "messagebird (Python)": {"media in": OUTSIDE, "read": NO_METHOD},
    "messagebird (Node)": {"media in": OUTSIDE, "read": NO_METHOD},
    "messagebird-sdk": {},
    "sinch (Python)": {"media in": OUTSIDE, "read": NO_METHOD},
    "@sinch/sdk-core": {"media in": OUTSIDE},
    "@zenvia/sdk": {"media in": OUTSIDE, "read": NO_METHOD, "status": NO_METHOD},
}


def main(results):
    seen = {tuple(line.split("\t")) for line in results.read_text(encoding="utf-8").splitlines()}
    known = {(sdk, behaviour) for sdk in ABSENT for behaviour in BEHAVIOURS}
    missing = {cell for cell in known - seen if cell[1] not in ABSENT[cell[0]]}
    wrong = {cell for cell in seen if cell not in known or cell[1] in ABSENT[cell[0]]}

    reasons = sorted({reason for row in ABSENT.values() for reason in row.values()})
    width = max(map(len, ABSENT))
    print(" " * width, *BEHAVIOURS, sep="  ")
    for sdk, absent in ABSENT.items():
        cells = (str(reasons.index(absent[b]) + 1) if b in absent else "yes" if (sdk, b) in seen else "??" for b in BEHAVIOURS)
        print(sdk.ljust(width), *(cell.ljust(len(b)) for cell, b in zip(cells, BEHAVIOURS)), sep="  ")
    for number, reason in enumerate(reasons, 1):
        print(f"{number}: {reason}")
    for sdk, behaviour in sorted(missing):
        print(f"table.py: no test of {sdk} shows: {behaviour}", file=sys.stderr)
    for sdk, behaviour in sorted(wrong):
        print(f"table.py: the table does not expect of {sdk}: {behaviour}", file=sys.stderr)
    return 1 if missing or wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.exit(main(pathlib.Path(sys.argv[1])))
