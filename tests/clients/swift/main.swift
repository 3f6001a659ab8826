// Verifies a number over each of the two APIs with the client that openapi-generator made, the module
// `PhoneVerifyClient`. Arguments: where the daemon listens, and the two numbers. Every code is 123456.
import Foundation
import PhoneVerifyClient

func problem(_ refused: () async throws(ErrorResponse) -> Void) async throws -> Problem {
    do {
        try await refused()
    } catch .error(_, let body, _, _) {
        return try JSONDecoder().decode(Problem.self, from: body ?? Data())
    }
    fatalError("it was not refused")
}

let arguments = CommandLine.arguments
PhoneVerifyClientAPIConfiguration.shared.basePath = arguments[1]

let new = NewVerification(
    context: ["name": .string("Ada"), "orders": .int(7), "gift": .bool(true)],
    phoneNumber: arguments[2]
)
let begun = try await VerificationsAPI.createVerification(newVerification: new, idempotencyKey: "one")
let again = try await VerificationsAPI.createVerification(newVerification: new, idempotencyKey: "one")
precondition(again.id == begun.id)
let wrong = try await problem { () async throws(ErrorResponse) in
    let check = Check(securityCode: "000000", sessionToken: begun.sessionToken)
    _ = try await VerificationsAPI.checkSecurityCode(id: begun.id, check: check)
}
precondition(wrong.code == .securityCodeInvalid)
let check = Check(securityCode: "123456", sessionToken: begun.sessionToken)
let right = try await VerificationsAPI.checkSecurityCode(id: begun.id, check: check)
precondition(right.status == .verified)
let shown = try await VerificationsAPI.showVerification(id: begun.id)
precondition(shown.status == .verified)

let registered = try await DropInAPI.registerPhoneNumber(
    phoneRegistration: PhoneRegistration(phoneNumber: arguments[3])
)
let verified = try await DropInAPI.verifyPhoneNumber(
    phoneVerification: PhoneVerification(
        phoneNumber: arguments[3],
        securityCode: "123456",
        sessionToken: registered.sessionToken
    )
)
precondition(verified.message == "Security code is valid.")
print("verified")
