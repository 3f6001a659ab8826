// Verifies a number over each of the two APIs with the types that openapi-typescript made. Arguments: where the daemon
// listens, and the two numbers. Every code is 123456.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [baseUrl, number, another] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl });

const begin = () =>
    client.POST("/v1/verifications", {
        body: { phone_number: number, context: { name: "Ada", orders: 7, gift: true } },
        params: { header: { "Idempotency-Key": "one" } },
    });
const { data: begun } = await begin();
assert(begun);
const { data: again } = await begin();
assert.equal(again?.id, begun.id);

const check = (security_code: string) =>
    client.POST("/v1/verifications/{id}/check", {
        params: { path: { id: begun.id } },
        body: { session_token: begun.session_token, security_code },
    });
const { error: wrong } = await check("000000");
assert.equal(wrong?.code, "security_code_invalid");
const { data: right } = await check("123456");
assert.equal(right?.status, "verified");
const { data: shown } = await client.GET("/v1/verifications/{id}", { params: { path: { id: begun.id } } });
assert.equal(shown?.status, "verified");

const { data: registered } = await client.POST("/api/phone/register", { body: { phone_number: another } });
assert(registered);
const { data: verified } = await client.POST("/api/phone/verify", {
    body: { phone_number: another, session_token: registered.session_token, security_code: "123456" },
});
assert.equal(verified?.message, "Security code is valid.");
console.log("verified");
