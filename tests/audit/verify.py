#!/usr/bin/env python3
"""Computes the audit's chain again from an export, by its documentation alone and without any of autopay's code.

    autopay audit list --all -o jsonl --out audit.jsonl
    autopay audit anchor -o json --out anchor.json
    verify.py audit.jsonl anchor.json

Says how many lines follow from one another; at the first that does not, its number, and exit 1.
"""

import hashlib
import json
import sys

FIELDS = ("actor", "action", "object", "detail", "reason", "before", "after")


def written(value):
    """A field as it is sealed: its length in bytes, a colon, its bytes, a comma; `-,` where it is absent."""
    if value is None:
        return b"-,"
    text = value.encode()
    return b"%d:%s," % (len(text), text)


def seal(*values):
    return hashlib.sha256(b"".join(map(written, values))).hexdigest()


def main(export, anchor):
    with open(anchor, encoding="utf-8") as file:
        head = json.load(file)
    previous, lines, at_head = seal("autopay.audit/1", head["chain"]), 0, None
    with open(export, encoding="utf-8") as file:
        for text in file:
            line = json.loads(text)
            previous = seal(previous, str(line["id"]), line["at"], *(line[name] for name in FIELDS))
            if previous != line["seal"]:
                sys.exit(f"line {line['id']} does not follow from the one before it")
            lines += 1
            if line["id"] == head["last_id"]:
                at_head = previous
    if head["last_id"] > 0 and at_head != head["seal"]:
        sys.exit(f"line {head['last_id']} is not the one that the anchor names")
    print(f"{lines} lines follow from one another")


if __name__ == "__main__":
    main(*sys.argv[1:])
