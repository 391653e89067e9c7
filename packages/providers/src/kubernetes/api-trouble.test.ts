import { describe, expect, test } from "vitest";
import { troubleOfRefusal, type ApiRefusal } from "./api-trouble.ts";

const refusal = (
  status: number,
  message: string,
  reason = "",
  headers: Record<string, string> = {},
): ApiRefusal => ({
  status,
  body: JSON.stringify({ kind: "Status", status: "Failure", message, reason, code: status }),
  headers,
});
/** What kube-apiserver 1.36.3 says (asked, or read in its source), and what it means. */
const SAMPLES: readonly (readonly [string, ApiRefusal, string])[] = [
  [
    "RBAC",
    refusal(
      403,
      'pods is forbidden: User "nobody" cannot create resource "pods" in API group "" in the namespace "default"',
      "Forbidden",
    ),
    "unauthorized",
  ],
  [
    "a full quota",
    refusal(
      403,
      'pods "m-3" is forbidden: exceeded quota: q, requested: requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=1, limited: requests.nvidia.com/gpu=1',
      "Forbidden",
    ),
    "capacity",
  ],
  [
    "a quota that nobody has counted yet",
    refusal(
      403,
      'pods "m-3" is forbidden: status unknown for quota: q, resources: pods',
      "Forbidden",
    ),
    "unavailable",
  ],
  [
    "a quota that wants limits",
    refusal(403, 'pods "m-3" is forbidden: failed quota: q: must specify memory', "Forbidden"),
    "invalid",
  ],
  [
    "a RuntimeClass that is not there",
    refusal(
      403,
      'pods "m-1" is forbidden: pod rejected: RuntimeClass "nope" not found',
      "Forbidden",
    ),
    "invalid",
  ],
  [
    "a ServiceAccount that is not there",
    refusal(
      403,
      'pods "m-1" is forbidden: error looking up service account default/nope: serviceaccount "nope" not found',
      "Forbidden",
    ),
    "invalid",
  ],
  [
    "a namespace that is not there",
    refusal(404, 'namespaces "nope" not found', "NotFound"),
    "invalid",
  ],
  [
    "a value that cannot be",
    refusal(
      422,
      'Pod "m-1" is invalid: spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique',
      "Invalid",
    ),
    "invalid",
  ],
  [
    "a request that cannot be read",
    refusal(400, "json: cannot unmarshal", "BadRequest"),
    "invalid",
  ],
  ["a key that is refused", { status: 401, body: undefined, headers: {} }, "unauthorized"],
  ["a proxy's 403", { status: 403, body: "<html>no</html>", headers: {} }, "unauthorized"],
  ["too many calls", refusal(429, "too many requests", "TooManyRequests"), "rate_limited"],
  [
    "somebody else's write",
    refusal(409, "Operation cannot be fulfilled", "Conflict"),
    "unavailable",
  ],
  [
    "a page that is gone",
    refusal(410, "The provided continue parameter is too old", "Expired"),
    "unavailable",
  ],
  [
    "a broken server",
    refusal(500, "etcdserver: request timed out", "InternalError"),
    "unavailable",
  ],
  [
    "a proxy without a server",
    { status: 502, body: "<html>Bad Gateway</html>", headers: {} },
    "unavailable",
  ],
  ["a request that took too long", refusal(408, "timeout", "Timeout"), "unavailable"],
  ["a redirect", { status: 302, body: "", headers: {} }, "unavailable"],
];

describe("a refusal", () => {
  test.each(SAMPLES)("%s", (_, sample, kind) => {
    const trouble = troubleOfRefusal(sample);
    expect(trouble.kind).toBe(kind);
    expect(trouble.message).toMatch(new RegExp(`^the cluster answered ${sample.status}: \\S`));
    // Only where something broke may the deed have been done.
    const isBroken = sample.status >= 500 || sample.status < 400 || sample.status === 408;
    expect(trouble.mayHaveHappened).toBe(isBroken);
  });

  test("says when to try again, in a time that can be waited for", () => {
    const after = (value: string): number | null =>
      troubleOfRefusal(refusal(429, "slow down", "TooManyRequests", { "retry-after": value }))
        .retryAfterMs;
    expect(after("12")).toBe(12_000);
    expect(after("999999")).toBe(15 * 60_000);
    expect(after("Wed, 21 Oct 2026 07:28:00 GMT")).toBeNull();
    expect(after("-1")).toBeNull();
    expect(troubleOfRefusal(refusal(429, "slow down")).retryAfterMs).toBeNull();
  });

  test("is told in one line that a person reads", () => {
    const { message } = troubleOfRefusal(refusal(422, `a\nb ${"x".repeat(5_000)}`, "Invalid"));
    expect(message).not.toContain("\n");
    expect(message.length).toBeLessThan(600);
  });
});
