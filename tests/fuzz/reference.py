#!/usr/bin/env python3
"""A second reading of the gateway's contract: the judge that is neither the client nor the sandbox.

The conformance suite writes down every request that reached the sandbox and every answer, one JSON line each. This program
reads them and works out from the contract's text alone what the gateway should have said: a request without a mistake is
taken, a request with mistakes is refused with the documented text of one of them, an answer has the documented fields, states
and status. It knows neither implementation; all it knows of the sandbox is how its README scripts methods by their ids.

Usage: reference.py FOLDER [AT_LEAST]
Standard library only. Section numbers are the written contract's.
"""

import copy
import json
import pathlib
import re
import sys

from judge import Judge


def spoilt(line):
    """Copies of a good exchange that no judge may let pass."""
    if line["status"] >= 400 and line["status"] != 500:
        other = copy.deepcopy(line)
        other["answer"]["detail"] = "made up by nobody"
        yield other
        other = copy.deepcopy(line)
        other["answer"]["title"] = "TEAPOT"
        yield other
    data = line["answer"].get("data") if isinstance(line["answer"], dict) else None
    if line["status"] < 400 and isinstance(data, dict) and "status" in data and "requestId" not in data:
        other = copy.deepcopy(line)
        other["answer"]["data"]["status"] = "MADE_UP"
        yield other
    if line["status"] == 202 and (line["request"]["method"], line["request"]["path"]) == ("POST", "/v2/payments"):
        other = copy.deepcopy(line)
        other.update(status=400, answer={"title": "INVALID_REQUEST", "status": 400, "detail": "amount is required"})
        yield other
        other = copy.deepcopy(line)
        other["request"]["body"]["amount"] = 0
        yield other


def main():
    folder = pathlib.Path(sys.argv[1])
    least = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    judged, wrong, missed, spoils = 0, [], [], 0
    by_call = {}
    for path in sorted(folder.glob("*.jsonl")):
        judge = Judge()
        for number, text in enumerate(path.read_text().splitlines(), 1):
            line = json.loads(text)
            for bad in spoilt(line):
                spoils += 1
                found, _ = copy.deepcopy(judge).judge(bad)
                if found is None:
                    missed.append((path.name, number, bad["status"], bad["answer"]))
            found, whole = judge.judge(line)
            judged += whole
            call = re.sub(r"[0-9a-f-]{36}", "{id}", f"{line['request']['method']} {line['request']['path']}")
            by_call[call] = by_call.get(call, 0) + whole
            if found is not None:
                wrong.append((path.name, number, found, text[:700]))
    for name, number, found, text in wrong:
        print(f"{name}:{number}: {found}\n    {text}")
    for miss in missed:
        print(f"the judge let a spoilt exchange pass: {miss}")
    print(f"{judged} exchanges judged, {len(wrong)} against the contract; {spoils} spoilt ones, {len(missed)} let pass")
    for call, count in sorted(by_call.items()):
        print(f"  {count:5} {call}")
    if judged < least:
        print(f"that is fewer than {least}: was the conformance suite run?")
    sys.exit(1 if wrong or missed or judged < least else 0)


main()
