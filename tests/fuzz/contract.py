"""What the gateway's contract says about requests and answers, written from its text alone (§3.2 to §7).

Each function names every mistake of a body in the documented words; a name that starts with `*` stands for a refusal that
the contract describes without quoting one.
"""

import re
import uuid

AMOUNT_MAX = 99_999_999
MALFORMED = "Invalid request format. Please check JSON structure and field types"
PAYMENT_STATES = {  # §4.5
    "INITIATED", "PENDING", "PENDING_FOR_CUSTOMER_CREATION", "PENDING_FOR_PAYMENT_METHOD_CREATION", "PROCESSING",
    "PROCESSING_DEDUP_CHECK", "AUTH_REQUIRED", "CONFIRMATION_INITIALIZED", "AUTHORIZED", "ACCEPTED",
    "CAPTURE_INITIALIZED", "CANCEL_INITIALIZED", "COMPLETED", "FAILED", "CANCELLED", "CANCEL_FAILED",
}
SHORTER_SET = PAYMENT_STATES - {  # §4.5, the domain-model page
    "AUTH_REQUIRED", "CONFIRMATION_INITIALIZED", "CAPTURE_INITIALIZED", "CANCEL_INITIALIZED", "CANCEL_FAILED"}
AT_REST = {"AUTHORIZED", "COMPLETED", "CANCELLED", "CANCEL_FAILED", "CANCELED"}
REFUND_STATES = {"INITIATED", "PENDING", "COMPLETED", "FAILED", "PARTIAL_SUCCESS"}  # §5
OLDER_REFUND_STATES = {"INITIATED", "PENDING", "REFUNDED", "REFUND_FAILED", "PARTIAL_REFUND"}
CLASSES = {  # §3.2, §7, and the older pages'
    400: {"INVALID_REQUEST", "BAD_REQUEST", "PAYMENT_METHOD_ERROR", "PAYMENT_ERROR"},
    401: {"UNAUTHORIZED", "SESSION_TIMEOUT"},
    403: {"FORBIDDEN", "PAYMENT_METHOD_ERROR"},
    404: {"NOT_FOUND"},
    406: {"PAYMENT_METHOD_ERROR", "NOT_ACCEPTABLE"},
    410: {"SESSION_CANCELED"},
    422: {"UNPROCESSABLE_ENTITY", "PAYMENT_ERROR", "REFUND_ERROR"},
    500: {"INTERNAL_ERROR"},
}
REFUND_REASONS = [  # §5
    "This payment is already refunded", "This payment is too old to be refunded",
    "Refund amount cannot be more than the un-refunded amount of the original payment",
    "Refund amount cannot be more than the payment amount", "Cannot issue refund for this payment",
    "Payment method is canceled by a customer or expired by the financial partner",
    "A previous attempt to refund this payment has failed", "The amount given exceeds the allowed refund limit",
    "Payment is in dispute and not available for refund", "Refund declined by financial partner",
    "Refund is pending due to insufficient funds and pending refund expiry window is closed",
    "Refund has failed due to loss or theft of the original card", "Refund failed upon the business's request",
    "Refund has failed due to an unknown reason",
]
DOOR = [  # §2, §4.7: refusals that do not come from the body
    r"access_token is missing", r"jwt signature verification failed: 'exp' claim expired at .+",
    r"invalid jwt: invalid jwt string", r"403 FORBIDDEN", r"403 FORBIDDEN\. RequestId: .+", r"insufficient[ _]scope",
    r"Missing request header 'X-Merchant-Id' for method parameter of type UUID", r"X-Merchant-Id is required",
    r"X-Merchant-Id must be valid UUID", r"source header cannot exceed 50 characters", r"X-Upstream-Env is invalid",
]
LOOKED_FOR = [r"paymentId not found", r"Payment information not found\.", r"refundId not found", r"Session Id not found",
              r"paymentId must be valid UUID", r"Not allowed to access this session"]
OLDER_FAILURES = [  # §4.7, with 406
    r"paymentAllocations\[\d\]\.paymentMethodId not found\. Please provide a valid payment method",
    r"Payment method ending with \d{4} is not configured\. Please provide a valid payment method\.",
    r"Manufacturer card ending with \d{4} not enabled for this merchant\. Please use a different payment method",
    r"Payment method ending with \d{4} is invalid\. Please provide a valid payment method",
    r"One of the split tender card payments failed during processing\.",
    r"This card requires an additional security step to be performed by the customer\. Please have the customer enter the "
    r"card via text or email; otherwise, have the customer provide a different payment method\.",
    r"Payment method could not be authorized\. This payment method requires authentication from a customer\.",
    # Processors' own words for a decline are in no table of the contract (§4.8).
    r"Your card .+",
]
WORDLESS = [  # Refusals the contract describes without quoting one (§4.12, §5, §6, §7): the sandbox's words for them.
    r"paymentAllocations of a split payment must be cards", r"authorizeCard must be false for a split payment",
    r"paymentAllocations must not name the same paymentMethodId twice", r"config\.modes is required",
    r"Either paymentId or paymentMethodId should be provided\..*",
    r"Payment method: BANK_ACCOUNT not configured in Merchant: [0-9a-f-]{36}",
    r"authorizeCard requires partialAuthorization to be true",
]
PAYMENT_FAILED = "Payment processing failed for all records. Check individual records for error details"
REFUND_FAILED = "Refund allocation processing failed for all records. Check individual records for error details"
# Method ids whose scripted behaviour is a bank account (the sandbox's README).
BANK = re.compile(r"^5a4db0c5-(04|05|0a|0e|1101)", re.I)


def is_uuid(text):
    try:
        return isinstance(text, str) and len(text) == 36 and bool(uuid.UUID(text))
    except ValueError:
        return False


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def like(text, patterns):
    return any(re.fullmatch(pattern, text or "") for pattern in patterns)


class Odd(Exception):
    """A body whose JSON types are not the contract's: only `Invalid request format` is right."""


def typed(value, kind, optional=True):
    if value is None and optional:
        return None
    wrong = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
    if wrong:
        raise Odd(f"{value!r} is no {kind}")
    return value


def text_limit(found, value, most, name):
    if value is not None and len(typed(value, str)) > most:
        found.add(f"{name} cannot exceed {most} characters")


def notes(found, value, name):  # §3.3
    if value is None:
        return
    typed(value, dict)
    if len(value) > 20:
        found.add(f"{name} cannot exceed 20 entries")
    for key, text in value.items():
        if len(key) > 40:
            found.add(f"{name} key cannot exceed 40 characters")
        if len(typed(text, str, False)) > 100:
            found.add(f"{name} value cannot exceed 100 characters")


def amount(found, value, name, least=1):  # §3.3
    if value is None:
        found.add(f"{name} is required")
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Odd(name)
    elif not is_int(value) or not least <= value <= AMOUNT_MAX:
        found.add(f"{name} must be an integer between {least} and {AMOUNT_MAX}")


def customer(found, who):  # §3.4
    typed(who, dict, False)
    if who.get("hsid") is None and who.get("enterpriseId") is None and who.get("metadata") is None:
        found.add("customer object must include at least one of customer.hsid, customer.enterpriseId, or "
                  "customer.metadata")
    enterprise = typed(who.get("enterpriseId"), str)
    if enterprise is not None and not re.fullmatch(r"[0-9]+", enterprise):
        found.add("customer.enterpriseId is invalid")
    if who.get("hsid") is not None and not is_uuid(typed(who["hsid"], str)):
        found.add("customer.hsid must be a valid UUID")
    notes(found, who.get("metadata"), "customer.metadata")
    text_limit(found, who.get("firstName"), 100, "customer.firstName")
    text_limit(found, who.get("lastName"), 100, "customer.lastName")
    email = typed(who.get("email"), str)
    if email is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        found.add("customer.email must be a valid email address")
    ssn = typed(who.get("ssnLastFour"), str)
    if ssn is not None and not re.fullmatch(r"[0-9]{4}", ssn):
        found.add("customer.ssnLastFour must be 4 digits")


def agent(found, who):  # §3.5
    if who is None:
        return
    typed(who, dict)
    if not who.get("userId"):
        found.add("agent.userId is required")
    for field in ("firstName", "lastName", "userId"):
        text_limit(found, who.get(field), 50, f"agent.{field}")


def consent(found, body, reading):  # §3.6
    given = typed(body.get("consent"), dict)
    public = ("merchantConsentId", "merchantConsentText", "collectionTimestamp", "collectionDetails")
    if given is None:
        found.add("Consent is required!")
        return
    is_public = any(given.get(field) is not None for field in public)
    is_flat = not is_public and (given.get("type") is not None or given.get("timestamp") is not None)
    shapes = reading.get("consent-shape", "both")
    if not is_public and not is_flat:
        found.update({"Consent is required!", "Consent is Invalid!"})
    elif (is_public and shapes == "flat") or (is_flat and shapes == "public"):
        found.add("Consent is Invalid!")
    elif is_flat:
        if given.get("type") not in ("ONLINE", "WRITTEN", "VERBAL") or not given.get("timestamp"):
            found.add("Consent is Invalid!")
    else:
        if re.search(r"[{}+=*^%#~\\`<>?|\[\]]", given.get("merchantConsentText") or ""):
            found.add("consent.merchantConsentText contains unsupported characters")
        if not given.get("merchantConsentId"):
            found.add("consent.merchantConsentId is required")
        if not given.get("collectionTimestamp"):
            found.add("consent.collectionTimestamp is required")
        kind = (given.get("collectionDetails") or {}).get("type")
        if kind not in ("WEB", "TEL", "PPD"):
            found.add("consent.collectionDetails are not valid")
        if kind == "PPD" and body.get("agent") is None:
            found.add("agent is required when consent.collectionDetails.type is PPD")


def healthcare(found, body):  # §3.7
    details = typed(body.get("paymentDetails"), dict)
    if details is None:
        return
    care = details.get("healthcare") or {}
    qualified = (care.get("iias") or {}).get("qualifiedAmount")
    if qualified is None:
        found.add("paymentDetails.qualifiedAmount is required when paymentDetails is provided")
        return
    if is_int(body.get("amount")) and qualified + (care.get("visionAmount") or 0) > body["amount"]:
        found.add("sum of paymentDetails.qualifiedAmount and paymentDetails.visionAmount cannot exceed amount")
    prescription = ((care["iias"].get("qualifiedAmountDetails")) or {}).get("prescriptionAmount") or 0
    if prescription > qualified:
        found.add("paymentDetails.prescriptionAmount cannot exceed paymentDetails.qualifiedAmount")


def transaction_id(found, body):
    key = typed(body.get("merchantTransactionId"), str)
    if not (key or "").strip():
        found.add("merchantTransactionId is required")
    text_limit(found, key, 50, "merchantTransactionId")


def about_money(found, body, reading, description):
    """What payments of both versions have in common (§4.2, §4.7)."""
    transaction_id(found, body)
    amount(found, body.get("amount"), "amount", int(reading.get("minimum-amount", "1")))
    most = int(reading.get("description-limit", "100"))
    if description is not None and len(typed(description, str)) > most:
        found.add(f"description cannot exceed {most} characters")
    suffix = typed(body.get("statementDescriptorSuffix"), str)
    text_limit(found, suffix, 10, "statementDescriptorSuffix")
    if suffix is not None and not (re.fullmatch(r"[A-Za-z0-9 .-]*", suffix) and re.search(r"[A-Za-z]", suffix)):
        found.add("statementDescriptorSuffix only allows alphanumeric, space, hyphen and dot, and must contain at least "
                  "one letter")
    if body.get("customer") is not None:
        customer(found, body["customer"])
    agent(found, body.get("agent"))
    healthcare(found, body)


def flags(found, body, bank, reading):
    holds, partial = bool(body.get("authorizeCard")), bool(body.get("partialAuthorization"))
    if partial and not holds and not bank:  # §4.9; ignored for bank accounts, §4.13
        found.add("partialAuthorization requires authorizeCard to be true")
    if holds and not partial and not bank and reading.get("partial-authorization") == "coupled":
        found.add("authorizeCard requires partialAuthorization to be true")


def payment(body, reading):
    """Every mistake of a body of POST /v2/payments."""
    found = set()
    about_money(found, body, reading, body.get("description"))
    notes(found, body.get("metadata"), "metadata")
    if body.get("customer") is None:
        found.add("customer object is required")
    parts = typed(body.get("paymentAllocations"), list) or []
    if not parts or (len(parts) < 2 and reading.get("allocation-count") == "two"):
        found.add("paymentAllocations is required and must contain at least 2 items")
    if len(parts) > 2:
        found.add("paymentAllocations cannot contain more than 2 items")
    for n, part in enumerate(parts):
        amount(found, typed(part, dict, False).get("amount"), f"paymentAllocations[{n}].amount")
        method = typed(part.get("paymentMethodId"), str)
        if not method:
            found.add(f"paymentAllocations[{n}].paymentMethodId is required")
        elif not is_uuid(method):
            found.add(f"paymentAllocations[{n}].paymentMethodId must be valid UUID")
    amounts = [part.get("amount") for part in parts]
    if all(is_int(one) for one in amounts) and is_int(body.get("amount")) and sum(amounts) != body["amount"]:
        found.add("amount must equal the sum of paymentAllocations[:].amount")
    bank = any(BANK.match(part.get("paymentMethodId") or "") for part in parts)
    flags(found, body, bank, reading)
    if bank:
        consent(found, body, reading)
    if len(parts) == 2:  # §4.12; the texts of these are in no page
        only_cards = reading.get("split-tender", "cards") == "cards"
        if parts[0].get("paymentMethodId") == parts[1].get("paymentMethodId"):
            found.add("*twice")
        if (bank and only_cards) or (body.get("authorizeCard") and (only_cards or bank)):
            found.add("*mix")
    return found


def vendor_method(found, method, body, reading):
    """§4.2, §6: a method by a vendor's token."""
    if not method.get("vendorPaymentMethodId"):
        found.add("vendorPaymentMethodId is required")
    bank = method.get("type") == "BANK_ACCOUNT"
    details = method.get("paymentMethodDetails") or {}
    nickname(found, method.get("nickname"))
    if bank and reading.get("bank-accounts") == "not-configured":
        found.add("*not configured")
    if bank and method.get("paymentMethodDetails"):
        number = details.get("accountNumber") or ""
        if not number:
            found.add("accountNumber is required")
        elif not number.isdigit():
            found.add("accountNumber is not valid")
        elif len(number) > 17:
            found.add("accountNumber can be upto 17 digits")
        if (details.get("accountType") or "").upper() not in ("CHECKING", "SAVINGS"):
            found.add("accountType is not valid")
        if number and number in (details.get("nameOnAccount") or ""):
            found.add("nameOnAccount shouldn't contain account number")
        if number and number in (method.get("nickname") or ""):
            found.add("nickname shouldn't contain account number")
    for category in details.get("cardCategories") or []:
        if category.get("categoryType") != "MANUFACTURER_CARD":
            continue
        medications = category.get("medications") or []
        if reading.get("manufacturer-cards", "disabled") == "disabled":
            found.add("MANUFACTURER_CARD category type is not enabled")
        if body.get("agent") is None:
            found.add("Agent is required to add manufacturer card")
        if not medications:
            found.add("Medication is required to add manufacturer card")
        if len(medications) > 1:
            found.add("Only one medication can be associated per manufacturer card")
        if method.get("default"):
            found.add("Manufacturer card cannot be default")
    return bank


def nickname(found, name):
    if name is None:
        return
    if not re.fullmatch(r"[A-Za-z0-9]{0,30}", name):
        found.add("Nickname must be alphanumeric and up to 30 characters.")
    if re.fullmatch(r"\d{13,19}", name):
        found.add("Please make sure that the nickname field doesn't contain a card number.")


def token_payment(body, reading):
    """Every mistake of a body of POST /v1/token/payments."""
    found = set()
    about_money(found, body, reading, body.get("paymentDescription"))
    spelling = reading.get("metadata-spelling", "both")
    read = {"both": body.get("metadata") or body.get("metaData"), "metadata": body.get("metadata"),
            "metaData": body.get("metaData")}[spelling]
    notes(found, read, "metadata")
    method = typed(body.get("paymentMethod"), dict) or {}
    bank = vendor_method(found, method, body, reading)
    if method.get("savePaymentMethod") and body.get("customer") is None:
        found.add("customer object is required")  # pay and store excludes guests
    flags(found, body, bank, reading)
    if bank:
        consent(found, body, reading)
    return found


def payment_v1(body, reading):
    found = set()
    about_money(found, body, reading, body.get("paymentDescription"))
    if body.get("customer") is None:
        found.add("customer object is required")
    return found


def capture(body, version):  # §4.9
    found = set()
    notes(found, body.get("metadata"), "payment.metadata" if version == "v1" else "metadata")
    if body.get("amount") is not None:
        small = set()
        amount(small, body["amount"], "amount")
        if small and version == "v1":
            small = {f"amount Invalid amount {body['amount']}, it must be between 1 and {AMOUNT_MAX}"}
        found |= small
    for n, part in enumerate(body.get("paymentAllocations") or []):
        amount(found, part.get("amount"), f"paymentAllocations[{n}].amount")
    return found


def cancel(body):  # §4.11
    if body.get("paymentCancellationReason") in ("DUPLICATE", "FRAUDULENT", "REQUESTED_BY_CUSTOMER", "ABANDONED"):
        return set()
    return {"Invalid enum in paymentCancellationReason. paymentCancellationReason should accept only allowed enums"}


def refund(body, reading):  # §5
    found = set()
    transaction_id(found, body)
    text_limit(found, body.get("reason"), 50, "reason")
    notes(found, body.get("metadata"), "metadata")
    agent(found, body.get("agent"))
    linked, credit = body.get("paymentId"), body.get("paymentMethodId")
    if linked is None and credit is None:
        found.add("paymentId or paymentMethodId is required")
    if linked is not None and credit is not None:
        found.add("*either")
    if linked is not None and not is_uuid(linked):
        found.add("paymentId must be valid UUID")
    if credit is not None and linked is None:
        if body.get("amount") is None:
            found.add("When paymentMethodId is present, amount is required")
        elif body["amount"] > 1_000_000:
            found.add("The amount given exceeds the allowed refund limit")
        who = body.get("customer") or {}
        customer(found, who)
        if not (who.get("hsid") and who.get("firstName") and who.get("lastName")) or BANK.match(credit):
            found.add("Cannot issue refund for this payment")
    for n, part in enumerate(body.get("refundAllocations") or []):
        amount(found, part.get("amount"), f"refundAllocations[{n}].amount")
    return found


def set_up(body, reading):  # §6
    found = set()
    if body.get("customer") is None:
        found.add("customer object is required")
    else:
        customer(found, body["customer"])
    agent(found, body.get("agent"))
    vendor_method(found, body.get("paymentMethod") or {}, body, reading)
    return found


def update(body):  # §6
    found = set()
    agent(found, body.get("agent"))
    nickname(found, body.get("nickname"))
    details = body.get("paymentMethodDetails") or {}
    if details.get("zipCode") is not None and not re.fullmatch(r"\d{5}", details["zipCode"]):
        found.add("ZipCode must be exactly 5 digits long.")
    month = details.get("expiryMonth")
    if month is not None and not (str(month).isdigit() and 1 <= int(month) <= 12):
        found.add("invalid expiryMonth")
    if details.get("type") == "BANK_ACCOUNT" and not (details.get("accountType") or "").strip():
        found.add("Account type must not be blank.")
    return found


def session(body, reading):  # §7
    found = set()
    modes = ((body.get("config") or {}).get("modes")) or []
    known = {"PAYMENT", "PAYMENT_METHOD_ENTRY", "PAYMENT_WITH_WALLET", "WALLET", "PAYMENT_METHOD_SELECT",
             "PAYMENT_METHOD_DISPLAY", "PAYMENT_AND_SAVE"}
    if not modes or not set(modes) <= known:
        found.add("*modes")
    if body.get("customer") is None and set(modes) != {"PAYMENT"}:
        found.add("Customer identifier is missing")
    elif body.get("customer") is not None:
        customer(found, body["customer"])
    agent(found, body.get("agent"))
    if set(modes) & {"PAYMENT", "PAYMENT_WITH_WALLET", "PAYMENT_AND_SAVE"}:
        pays = body.get("payment")
        if pays is None:
            found.add("payment is required")
        else:
            transaction_id(found, pays)
            amount(found, pays.get("amount"), "amount", int(reading.get("minimum-amount", "1")))
            notes(found, pays.get("metadata"), "metadata")
            channels = ((body.get("config") or {}).get("paymentMethodChannel")) or {}
            if channels.get("bankAccount") and pays.get("consent") is None:
                found.add("Consent is required!")
    return found


def about_a_customer(body, version):
    found = set()
    if body.get("customer") is None:
        found.add("customer is required" if version == "v1" else "customer object is required")
    else:
        customer(found, body["customer"])
    return found
