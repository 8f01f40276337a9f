"""Has three months of a book settled with fees, exports them in six forms, and holds each form against the trial balance of its month.

usage: check.py AUTOPAY FOLDER, where FOLDER holds autopay.db
"""

import csv
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

AUTOPAY, FOLDER = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
MONTHS = ["2026-12", "2027-01", "2027-02"]
FORMS = ["generic-csv", "quickbooks-iif", "xero-csv", "netsuite-csv", "beancount", "ledger"]
# Nothing answers there, and nothing is asked: the file says what the book says.
(FOLDER / "autopay.toml").write_text("""
[database]
url = "sqlite:autopay.db"
[gateway]
base_url = "http://127.0.0.1:9"
token_url = "http://127.0.0.1:9/token"
client_id = "journals"
client_secret_file = "secret"
""")
(FOLDER / "secret").write_text("journals")
(FOLDER / "secret").chmod(0o600)


def run(*command, ok=True):
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, env={**os.environ, "AUTOPAY_USER": "nora"})
    if ok and done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def generic(text):
    for row in csv.DictReader(io.StringIO(text)):
        yield row["transaction_id"], row["account"], Decimal(row["debit"] or 0) - Decimal(row["credit"] or 0)


def xero(text):
    for row in csv.DictReader(io.StringIO(text)):
        yield row["*Narration"], row["*AccountCode"], Decimal(row["*Amount"])


def netsuite(text):
    for row in csv.DictReader(io.StringIO(text)):
        yield row["External ID"], row["Account"], Decimal(row["Debit"] or 0) - Decimal(row["Credit"] or 0)


def iif(text):
    block = 0
    for line in text.splitlines()[3:]:
        fields = line.split("\t")
        if fields[0] == "ENDTRNS":
            block += 1
            continue
        assert fields[0] in ("TRNS", "SPL") and re.fullmatch(r"\d\d/\d\d/\d{4}", fields[2]), line
        yield str(block), fields[3], Decimal(fields[4])


READ = {"generic-csv": generic, "xero-csv": xero, "netsuite-csv": netsuite, "quickbooks-iif": iif}


def hledger(path):
    rows = csv.DictReader(io.StringIO(run("hledger", "-f", path, "balance", "--flat", "-N", "-O", "csv", "-E")))
    return {row["account"]: Decimal(row["balance"].replace("USD", "").replace(",", "").strip() or 0) for row in rows}


def key(account):
    return re.sub(r"[^A-Za-z0-9]+", "-", account.split(":")[-1]).lower()


def settle():
    """A settlement file of every payment, its day its month's, 2.9 % kept of each, and a fee of its own; read twice. Returns the fees by month."""
    fees = defaultdict(Decimal)
    rows = sqlite3.connect(f"file:{FOLDER}/autopay.db?mode=ro", uri=True).execute(
        "SELECT payment_id, amount_minor, currency, substr(updated_at, 1, 10) FROM attempt WHERE state = 'succeeded' AND payment_id IS NOT NULL"
    )
    with open(FOLDER / "settled.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["type", "gateway_id", "gross", "fee", "currency", "settled_on"])
        for payment, minor, currency, day in rows:
            fee = (Decimal(minor) / 100 * Decimal("0.029")).quantize(Decimal("0.01"))
            fees[day[:7]] += fee
            out.writerow(["payment", payment, Decimal(minor) / 100, fee, currency, day])
        out.writerow(["fee", "", "19.00", "", "USD", f"{MONTHS[1]}-31"])
        fees[MONTHS[1]] += Decimal("19.00")
    for _ in range(2):
        # The book's clock ran ahead of the machine's.
        run("faketime", "2027-03-05 12:00:00", AUTOPAY, "recon", "run", "--settlement", "settled.csv")
    return fees


transactions = 0
fees = settle()
for month in MONTHS:
    shown = json.loads(run(AUTOPAY, "ledger", "show", "--month", month, "--by", "entry", "-o", "json"))
    assert shown, f"{month} is empty"
    by_role = json.loads(run(AUTOPAY, "ledger", "show", "--month", month, "-o", "json"))
    balances = {row["account"]: Decimal(row["balance"]) for row in by_role if Decimal(row["balance"])}
    assert sum(balances.values()) == 0, by_role
    assert balances["fees"] == fees[month], f"{month}: {balances['fees']} of fees, and the files say {fees[month]}"
    # Plans name accounts of their own for one role: what each account is, the generic form says.
    roles = {}
    for row in csv.DictReader(io.StringIO(run(AUTOPAY, "export", "journal", "--period", month, "--format", "generic-csv"))):
        # Some systems know an account by its name, some by the code in front of it.
        for name in (row["account"], row["account"].split("-")[0]):
            assert roles.setdefault(key(name), row["role"]) == row["role"], row
    for detail in [[], ["--detail"]]:
        for form in FORMS:
            path = f"{month}{'-detail' if detail else ''}.{form}"
            command = [AUTOPAY, "export", "journal", "--period", month, "--format", form, *detail, "--out"]
            run(*command, path)
            run(*command, f"{path}.again")
            assert (FOLDER / path).read_bytes() == (FOLDER / f"{path}.again").read_bytes(), f"{path} differs when repeated"
            if form == "beancount":
                run("bean-check", path)
                continue
            if form == "ledger":
                run("hledger", "-f", path, "check")
                run("hledger", "-f", path, "print")
                run("ledger", "-f", path, "--strict", "balance")
                accounts = hledger(path)
            else:
                sums, accounts = defaultdict(Decimal), defaultdict(Decimal)
                for transaction, account, amount in READ[form]((FOLDER / path).read_text()):
                    sums[transaction] += amount
                    accounts[account] += amount
                assert sums and not any(sums.values()), f"{path}: {dict(sums)}"
                transactions += len(sums)
            found = defaultdict(Decimal)
            for account, amount in accounts.items():
                found[roles[key(account)]] += amount
            found = {role: amount for role, amount in found.items() if amount}
            assert found == balances, f"{path}: {found}, and the ledger says {balances}"
print(f"{len(MONTHS)} months in {len(FORMS)} forms, by day and in detail: {transactions} transactions of the tables come to zero, and all agree, fees of {sum(fees.values())} among them")
