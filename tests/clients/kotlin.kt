// Verifies a number over each of the two APIs with the client that openapi-generator made, the package
// `phone_verify_client`. Arguments: where the daemon listens, and the two numbers. Every code is 123456.
import phone_verify_client.apis.DropInApi
import phone_verify_client.apis.VerificationsApi
import phone_verify_client.infrastructure.ClientError
import phone_verify_client.infrastructure.ClientException
import phone_verify_client.infrastructure.Serializer
import phone_verify_client.models.Check
import phone_verify_client.models.Checked
import phone_verify_client.models.Code
import phone_verify_client.models.NewVerification
import phone_verify_client.models.PhoneRegistration
import phone_verify_client.models.PhoneVerification
import phone_verify_client.models.Problem
import phone_verify_client.models.Verification

fun problem(refused: () -> Unit): Problem {
    try {
        refused()
    } catch (error: ClientException) {
        val body = (error.response as ClientError<*>).body as String
        return Serializer.gson.fromJson(body, Problem::class.java)
    }
    error("it was not refused")
}

fun main(arguments: Array<String>) {
    val (baseUrl, number, another) = arguments
    val verifications = VerificationsApi(baseUrl)
    val new = NewVerification(number, context = mapOf("name" to "Ada", "orders" to 7, "gift" to true))
    val begun = verifications.createVerification(new, idempotencyKey = "one")
    check(verifications.createVerification(new, idempotencyKey = "one").id == begun.id)
    val wrong = problem { verifications.checkSecurityCode(begun.id, Check("000000", begun.sessionToken)) }
    check(wrong.code == Code.security_code_invalid) { wrong }
    val right = verifications.checkSecurityCode(begun.id, Check("123456", begun.sessionToken))
    check(right.status == Checked.Status.verified) { right }
    val shown = verifications.showVerification(begun.id)
    check(shown.status == Verification.Status.verified) { shown }

    val dropIn = DropInApi(baseUrl)
    val registered = dropIn.registerPhoneNumber(PhoneRegistration(another))
    val verified = dropIn.verifyPhoneNumber(PhoneVerification(another, "123456", registered.sessionToken))
    check(verified.message == "Security code is valid.") { verified }
    println("verified")
}
