"""Verifies a number over each of the two APIs with the client that openapi-python-client made, the package
`phone_verify_client`. Arguments: where the daemon listens, and the two numbers. Every code is 123456."""

import sys

from phone_verify_client import Client
from phone_verify_client.api.drop_in import register_phone_number, verify_phone_number
from phone_verify_client.api.verifications import check_security_code, create_verification, show_verification
from phone_verify_client.models import (
    Check,
    CheckedStatus,
    NewlyBegun,
    NewVerification,
    NewVerificationContextType0,
    PhoneRegistration,
    PhoneVerification,
    Problem,
    VerificationStatus,
)

base_url, number, another = sys.argv[1:]
client = Client(base_url=base_url)

context = NewVerificationContextType0.from_dict({"name": "Ada", "orders": 7, "gift": True})
new = NewVerification(phone_number=number, context=context)
begun = create_verification.sync(client=client, body=new, idempotency_key="one")
assert isinstance(begun, NewlyBegun), begun
again = create_verification.sync(client=client, body=new, idempotency_key="one")
assert isinstance(again, NewlyBegun) and again.id == begun.id, again
wrong = check_security_code.sync(
    begun.id, client=client, body=Check(session_token=begun.session_token, security_code="000000")
)
assert isinstance(wrong, Problem) and wrong.code == "security_code_invalid", wrong
right = check_security_code.sync(
    begun.id, client=client, body=Check(session_token=begun.session_token, security_code="123456")
)
assert right.status == CheckedStatus.VERIFIED, right
shown = show_verification.sync(begun.id, client=client)
assert shown.status == VerificationStatus.VERIFIED, shown

registered = register_phone_number.sync(client=client, body=PhoneRegistration(phone_number=another))
verified = verify_phone_number.sync(
    client=client,
    body=PhoneVerification(phone_number=another, session_token=registered.session_token, security_code="123456"),
)
assert verified.message == "Security code is valid.", verified
print("verified")
