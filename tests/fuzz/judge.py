"""The judge: whether an exchange is what the contract says, without asking the client or the sandbox."""

import re

from contract import *  # noqa: F403: the words and rules of the contract, all of them


class Judge:
    """One sandbox's exchanges, in their order."""

    def __init__(self):
        self.submissions = {}
        self.ids = {}
        self.spent = set()
        self.refunds = set()
        self.set_ups = {}

    def judge(self, line):
        """(what is wrong or None, whether the whole of it was judged)"""
        try:
            return self.look(line)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            return f"cannot be read: {error!r}", False

    def look(self, line):
        request, status, answer = line["request"], line["status"], line["answer"]
        reading = line.get("reading") or {}
        path = request["path"].strip("/").split("/")
        version, rest = path[0], "/".join("{id}" if is_uuid(one) else one for one in path[1:])
        if len(path) > 2 and path[1] in ("payments", "refunds", "sessions", "payment-methods") and path[2] != "search":
            rest = "/".join([path[1], "{id}"] + path[3:])
        if status >= 400:
            wrong = self.error_shape(status, answer)
            if wrong:
                return wrong, False
            if self.at_the_door(request, version, status, answer):
                return None, status != 500
        door = self.must_be_refused(request, version, reading)
        if door:
            return f"should have been refused at the door: {door}", True
        body = request["body"]
        if status == 400 and answer["detail"] == MALFORMED:
            return (None, True) if self.is_odd(request, version, rest, reading) else ("nothing is malformed", True)
        call = f"{request['method']} {version}/{rest}"
        if request["method"] == "GET":
            return self.looked_up(rest, version, status, answer, reading)
        if not isinstance(body, dict) or "text" in body:
            body = {} if body is None else body
            if not isinstance(body, dict) or "text" in body:
                return f"{call}: taken although it is no JSON object", True
        handler = {
            "POST v2/payments": self.pay, "POST v1/token/payments": self.pay_by_token, "POST v1/payments": self.pay_v1,
            "PATCH v2/payments/{id}/capture": self.capture, "POST v1/payments/{id}/capture": self.capture,
            "PATCH v2/payments/{id}/cancel": self.cancel, "POST v1/payments/{id}/cancel": self.cancel,
            "POST v2/refunds": self.refund, "POST v2/sessions": self.session,
            "POST v1/token/setup-payment-methods": self.set_up, "POST v1/payment-methods/search": self.search,
            "PATCH v1/payment-methods/{id}": self.update, "DELETE v1/payment-methods/{id}": self.delete,
            "POST v2/customers/find": self.find,
        }.get(call)
        if handler is None:
            return f"{call} is not in the contract", False
        return handler(request, body, version, status, answer, reading), True

    @staticmethod
    def error_shape(status, answer):
        if not isinstance(answer, dict) or not {"title", "status"} <= set(answer):
            return "an error without title and status (§3.2)"
        if answer["status"] != status:
            return f"HTTP {status} says status {answer['status']}"
        if answer["title"] not in CLASSES.get(status, ()):
            return f"{status} is not titled {answer['title']} (§3.2)"
        carries = {"PAYMENT_ERROR", "REFUND_ERROR"} if status == 422 else set()
        if "data" in answer and answer["title"] not in carries:
            return "data belongs to processing failures only (§3.2)"
        return None

    @staticmethod
    def at_the_door(request, version, status, answer):
        if status == 500:
            return True
        return answer["title"] in ("UNAUTHORIZED", "BAD_REQUEST", "FORBIDDEN", "INVALID_REQUEST") and like(
            answer.get("detail"), DOOR)

    @staticmethod
    def must_be_refused(request, version, reading):
        if not request["token"]:
            return "there is no token (§2)"
        if not is_uuid(request["merchant"]):
            return "the merchant is missing or no UUID (§2)"
        if len(request["source"] or "") > 50:
            return "the source is too long (§1)"
        if request["method"] == "GET" and not request["accept"]:
            return "a GET without Accept (§1)"
        known = {"three": {"dev", "stage", "test"}, "five": {"dev", "stage", "test", "reg", "perf"}}
        names = known.get(reading.get("upstream-env", "three"))
        if names and request["environment"] and request["environment"] not in names:
            return "the environment is unknown (§1)"
        return None

    @staticmethod
    def is_odd(request, version, rest, reading):
        body = request["body"]
        if not isinstance(body, dict) or "text" in body:
            return True
        try:
            if rest == "payments":
                payment(body, reading)
            elif rest == "token/payments":
                token_payment(body, reading)
        except Odd:
            return True
        return False

    @staticmethod
    def mistakes(found, status, answer, more=()):
        """What has mistakes is refused for one of them; what has none is not refused for any."""
        if status in (200, 202, 204):
            return f"taken with {sorted(found)}" if found else None
        detail = answer.get("detail") or ""
        if detail in found or like(detail, more):
            return None
        if any(mistake.startswith("*") for mistake in found) and like(detail, WORDLESS):
            return None
        return f"refused with {detail!r}, and what is wrong is {sorted(found)}"

    # -- payments

    def pay(self, request, body, version, status, answer, reading):
        try:
            found = payment(body, reading)
        except Odd as odd:
            return f"not refused as malformed: {odd}"
        return self.paid(request, body, found, status, answer, reading)

    def pay_by_token(self, request, body, version, status, answer, reading):
        try:
            found = token_payment(body, reading)
        except Odd as odd:
            return f"not refused as malformed: {odd}"
        token = (request["merchant"], (body.get("paymentMethod") or {}).get("vendorPaymentMethodId"))
        if token in self.spent:
            found.add("VendorPaymentMethodId cannot be reused")
        elif not found:
            self.spent.add(token)
        return self.paid(request, body, found, status, answer, reading)

    def pay_v1(self, request, body, version, status, answer, reading):
        found = payment_v1(body, reading)
        if status == 406:
            return None if like(answer["detail"], OLDER_FAILURES) else f"{answer['detail']!r} is in no page"
        return self.paid(request, body, found, status, answer, reading)

    def paid(self, request, body, found, status, answer, reading):
        key = (request["merchant"], body.get("merchantTransactionId"))
        if found:
            return self.mistakes(found, status, answer)
        # §4.6: one id, submitted again.
        self.submissions[key] = self.submissions.get(key, 0) + 1
        count, how = self.submissions[key], reading.get("idempotency", "replay")
        if how == "reject-duplicate" and count > 1:
            right = (status, answer.get("detail")) == (403, "MerchantTransaction Id cannot be reused")
            return None if right else "a reused id should be refused (§4.6)"
        if count > 5:
            text = "Retry limit exceeded for merchantTransactionId. Please use a new merchantTransactionId."
            right = (status, answer.get("detail")) == (422, text)
            return None if right else "the sixth submission should be refused (§4.6)"
        final = request["path"].startswith("/v1/") and reading.get("v1-create") == "200"
        if status != (200 if final else 202):
            return f"a payment without a mistake is answered {status} {answer.get('detail')!r}"
        data = answer["data"]
        wrong = self.payment_shown(data, request["path"].split("/")[1], reading, "paymentAllocations" in data)
        if wrong:
            return wrong
        if count > 1 and self.ids[key] != data["id"]:
            return "a repeated id has another payment (§4.6)"
        self.ids[key] = data["id"]
        asked = {field: body.get(field) for field in ("merchantTransactionId", "amount")}
        if asked != {field: data.get(field) for field in asked}:
            return "the answer is about another payment (§4.3)"
        if count == 1 and not final and data["status"] != "INITIATED":
            return "an accepted payment is INITIATED (§4.3)"
        needed = {"id", "merchantTransactionId", "amount", "status", "authorizeCard", "partialAuthorization"}
        missing = needed - set(data)
        return f"without {sorted(missing)} (§4.3)" if missing else self.envelope(answer)

    @staticmethod
    def envelope(answer):
        return None if isinstance(answer.get("data"), dict) else "no envelope (§3.1)"

    @staticmethod
    def payment_shown(data, version, reading, whole=True):
        states = SHORTER_SET if reading.get("status-set") == "domain-model" else PAYMENT_STATES
        if version == "v1":
            states = states | {"CANCELED"}
        if data["status"] not in states:
            return f"{data['status']} is no state of a payment (§4.5)"
        if not is_uuid(data["id"]) or not data["merchantTransactionId"]:
            return "a payment has two ids (§4.4)"
        if version == "v1" or not whole:
            return None
        parts = data["paymentAllocations"]
        if not 1 <= len(parts) <= 2 or sum(part["amount"] for part in parts) != data["amount"]:
            return "allocations add up to the amount (§4.2)"
        for part in parts:
            if part["status"] not in PAYMENT_STATES | {"ROLLED_BACK"}:
                return f"{part['status']} is no state of an allocation (§4.5)"
            if part["capturedAmount"] > part["authorizedAmount"] or part["authorizedAmount"] > part["amount"]:
                return "captured is not above authorized (§4.2)"
            if (part["status"] == "ROLLED_BACK") != ("remediation" in part):
                return "a rolled back allocation, and no other, has a remediation (§4.12)"
            if "error" in part and (data["status"] != "FAILED" or not {"code", "title"} & set(part["error"])):
                return "an error belongs to a failed payment (§3.2)"
        for total in ("authorizedAmount", "capturedAmount"):
            if sum(part[total] for part in parts) != data[total]:
                return f"{total} is not the sum of the allocations'"
        if data["status"] == "COMPLETED" and data["capturedAmount"] < 1:
            return "a completed payment took money (§4.5)"
        if data["status"] in ("FAILED", "CANCELLED", "AUTHORIZED") and data["capturedAmount"]:
            return f"a payment that is {data['status']} took no money (§4.5)"
        return None

    def looked_up(self, rest, version, status, answer, reading):
        older = version == "v1" or reading.get("failure-status") == "406"
        if status in (400, 403, 404):
            right = like(answer.get("detail"), LOOKED_FOR + [r"refundId must be valid UUID"])
            return (None if right else f"{answer.get('detail')!r} is in no page"), True
        if rest.startswith("sessions"):
            return self.session_shown(status, answer), True
        if rest.startswith("refunds"):
            return self.refund_looked_up(status, answer, older, reading), True
        if status == 406:
            right = older and like(answer["detail"], OLDER_FAILURES)
            return (None if right else f"406 {answer['detail']!r} (§4.7)"), True
        data = answer["data"]
        wrong = self.payment_shown(data, version, reading)
        if wrong:
            return wrong, True
        if status == 422:
            right = not older and (answer["title"], answer["detail"], data["status"]) == (
                "PAYMENT_ERROR", PAYMENT_FAILED, "FAILED")
            return (None if right else "422 is for failed payments (§4.7)"), True
        if data["status"] == "FAILED":
            return "a failed payment is an error (§4.4)", True
        expected = 200 if data["status"] in AT_REST else 202
        if reading.get("status-set") == "domain-model":
            expected = status  # what goes on may be shown as the state before
        return (None if status == expected else f"{data['status']} with HTTP {status} (§4.4)"), True

    def capture(self, request, body, version, status, answer, reading):
        found = capture(body, version)
        more = [r"Payment cannot be captured in [A-Z_]+ state", r"paymentId not found", r"paymentId must be valid UUID",
                r"Capture amount exceeds authorized amount or no amount authorized for capture",
                r"Payment with [0-9a-f-]{36} is in invalid status: [A-Z_]+", r"Not authorized to capture this payment"]
        wrong = self.mistakes(found, status, answer, [] if found and status == 202 else more)
        if wrong or status != 202:
            bad_state = status != 202 and (answer.get("detail") or "").startswith("Payment cannot be captured")
            return wrong or ("a bad state is 422 (§3.2)" if bad_state and status != 422 else None)
        return self.acted(answer["data"], version, "CAPTURE_INITIALIZED", reading)

    def cancel(self, request, body, version, status, answer, reading):
        found = cancel(body)
        more = [r"Payment cannot be cancelled in (PROCESSING|COMPLETED|FAILED|CANCELLED|CANCEL_FAILED|[A-Z_]+) state",
                r"paymentId not found", r"paymentId must be valid UUID", r"Not authorized to cancel this payment"]
        wrong = self.mistakes(found, status, answer, more)
        if wrong or status != 202:
            allowed = {"AUTHORIZED", "ACCEPTED", "PENDING", "INITIATED"}
            state = re.search(r"cancelled in ([A-Z_]+) state", answer.get("detail") or "")
            return wrong or (f"{state[1]} can be cancelled (§4.11)" if state and state[1] in allowed else None)
        return self.acted(answer["data"], version, "CANCEL_INITIALIZED", reading)

    def acted(self, data, version, state, reading):
        wrong = self.payment_shown(data, version, {})
        if wrong or reading.get("status-set") == "domain-model":
            return wrong
        return None if data["status"] == state else f"it is {data['status']}, not {state} (§4.9, §4.11)"

    # -- refunds

    def refund(self, request, body, version, status, answer, reading):
        found = refund(body, reading)
        key = (request["merchant"], body.get("merchantTransactionId"))
        again = key in self.refunds
        more = [r"paymentId not found", r"paymentAllocationId not found", r"refundAllocations is required",
                r"Refunds can only be processed for captured payments"]
        if again:
            more.append("merchantTransactionId already used")
        if reading.get("refund-checks") == "at-once":
            more += [re.escape(reason) for reason in REFUND_REASONS]
        wrong = self.mistakes(found, status, answer, more)
        if wrong:
            return wrong
        if status == 400:
            return None
        if again and reading.get("refund-duplicate") != "replay":
            return "a refund's id is not taken twice (§4.6)"
        self.refunds.add(key)
        data = answer["data"]
        if data["merchantTransactionId"] != body["merchantTransactionId"]:
            return "the answer is about another refund"
        if not again and data["status"] != "INITIATED":
            return "an accepted refund is INITIATED (§5)"
        return self.refund_shown(data, reading)

    @staticmethod
    def refund_shown(data, reading):
        states = OLDER_REFUND_STATES if reading.get("refund-names") == "older" else REFUND_STATES
        if data["status"] not in states:
            return f"{data['status']} is no state of a refund (§5)"
        parts = data["refundAllocations"]
        if not parts or any(part["amount"] < 1 for part in parts):
            return "a refund has allocations with amounts (§5)"
        paid = data.get("payment")
        good = sum(part["amount"] for part in parts if "error" not in part)
        if paid and good > paid["capturedAmount"]:
            return "more goes back than was captured (§5)"
        for part in parts:
            error = part.get("error")
            message = error and (error.get("detail") or error.get("message"))
            if error and message not in REFUND_REASONS:
                return f"{message!r} is no reason of the contract (§5)"
        return None

    def refund_looked_up(self, status, answer, older, reading):
        if status == 406:
            right = older and answer["title"] == "NOT_ACCEPTABLE" and answer["detail"] in REFUND_REASONS
            return None if right else "406 is the older pages' (§5)"
        data = answer["data"]
        wrong = self.refund_shown(data, reading)
        failed = data["status"] in ("FAILED", "REFUND_FAILED")
        if wrong or failed != (status == 422):
            return wrong or f"{data['status']} with HTTP {status} (§5)"
        if status == 422:
            right = (answer["title"], answer["detail"]) == ("REFUND_ERROR", REFUND_FAILED)
            return None if right else "a failed refund is a REFUND_ERROR (§5)"
        waits = data["status"] in ("INITIATED", "PENDING")
        return None if status == (202 if waits else 200) else f"{data['status']} with HTTP {status}"

    # -- stored methods, customers, sessions

    def set_up(self, request, body, version, status, answer, reading):
        found = set_up(body, reading)
        name = (request["merchant"], body.get("requestId"))
        more = [r"requestId is required"]
        self.set_ups[name] = self.set_ups.get(name, 0) + 1
        if self.set_ups[name] > 5:
            more.append(r"Maximum number of retries reached\.")
        if "*not configured" in found:
            more.append(r"Payment method: BANK_ACCOUNT not configured in Merchant: [0-9a-f-]{36}")
        token = (request["merchant"], (body.get("paymentMethod") or {}).get("vendorPaymentMethodId"))
        if token in self.spent:
            found.add("VendorPaymentMethodId cannot be reused")
        wrong = self.mistakes(found, status, answer, more)
        if wrong or status != 202:
            return wrong
        self.spent.add(token)
        data = answer["data"]
        if data["requestId"] != body["requestId"] or not is_uuid(data["paymentMethodId"]):
            return "the answer names the request and the method (§6)"
        code = (data.get("warning") or {}).get("code", "DUPLICATE_ENTRY")
        return None if code == "DUPLICATE_ENTRY" else f"{code} is no documented warning (§6)"

    @staticmethod
    def method_shown(item, reading):
        flag = "isDefault" if reading.get("default-flag") == "isDefault" else "default"
        if not is_uuid(item["id"]) or not isinstance(item[flag], bool):
            return "a method has an id and a flag (§6)"
        if item["paymentMethodType"] not in ("CARD", "BANK_ACCOUNT"):
            return f"{item['paymentMethodType']} is no type of a method (§6)"
        details = item["paymentMethodDetails"]
        if details["status"] not in ("ACTIVE", "INVALIDATED") or not re.fullmatch(r"\d{4}", details["last4"]):
            return "a method has a status and four digits (§6)"
        needed = {"CARD": {"cardBrand", "expiryYear", "expiryMonth", "nameOnCard", "zipCode", "manufacturerCard"},
                  "BANK_ACCOUNT": {"accountType", "nameOnAccount", "bankName"}}[item["paymentMethodType"]]
        missing = needed - set(details)
        return f"a method without {sorted(missing)} (§6)" if missing else None

    def methods_shown(self, items, reading):
        if not isinstance(items, list):
            return "a list of methods (§6)"
        flags = [item for item in items if item.get("default") or item.get("isDefault")]
        if len(flags) > 1:
            return "at most one default (§6)"
        return next((wrong for wrong in (self.method_shown(item, reading) for item in items) if wrong), None)

    def search(self, request, body, version, status, answer, reading):
        wrong = self.mistakes(about_a_customer(body, version), status, answer)
        if wrong or status != 200:
            return wrong
        bare = reading.get("wallet-envelope") == "bare"
        return self.methods_shown(answer if bare else answer["data"], reading)

    def update(self, request, body, version, status, answer, reading):
        more = [r"Invalid paymentMethodId", r"Cannot update invalid payment method",
                r"Agent is required to update manufacturer card", r"Manufacturer card cannot be default",
                r"Payment method type in request does not match the existing payment method"]
        wrong = self.mistakes(update(body), status, answer, more)
        if wrong or status != 200:
            return wrong
        return self.methods_shown(answer, reading)

    def delete(self, request, body, version, status, answer, reading):
        found = set()
        if body:
            agent(found, body)
        wrong = self.mistakes(found, status, answer, [r"Invalid paymentMethodId"])
        return wrong or (None if status >= 400 or answer is None else "a deletion has no answer")

    def find(self, request, body, version, status, answer, reading):
        found = about_a_customer(body, version)
        wrong = self.mistakes(found, status, answer, [r"Customer not found for given customer\.enterpriseId"])
        if wrong or status != 200:
            return wrong
        return None if is_uuid(answer["data"]["id"]) else "a customer has an id (§6)"

    def session(self, request, body, version, status, answer, reading):
        more = [r"Card WS2 check has failed\."] if body.get("paymentMethod") else []
        wrong = self.mistakes(session(body, reading), status, answer, more)
        if wrong or status != 202:
            return wrong
        return self.session_shown(status, answer)

    @staticmethod
    def session_shown(status, answer):
        if status in (401, 410):
            return None if answer["detail"] in ("Your session is no longer valid", "Your session has been canceled") else (
                f"{answer['detail']!r} is in no page (§7)")
        data = answer["data"]
        if not data["sessionId"] or not data["hostedUrl"]:
            return "a session has an id and a page (§7)"
        expected = {"ACCEPTED": 202, "CREATED": 200, "COMPLETED": 200}.get(data["status"])
        return None if status == expected else f"{data['status']} with HTTP {status} (§7)"
