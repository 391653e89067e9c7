import { describe, expect, it } from "vitest";
import { answered, fakeApi, GONE, refused } from "../../testing/fake-api.ts";
import type { ApiAnswer } from "./api-client.ts";
import { requestUnderKey } from "./repeatable.ts";

const CUT: ApiAnswer = { kind: "unreachable", reason: "it was cut", mayHaveArrived: true };

function send(answers: readonly ApiAnswer[]) {
  const left = [...answers];
  const api = fakeApi(() => left.shift() ?? answered({}));
  const waits: number[] = [];
  const clock = { sleep: async (ms: number) => void waits.push(ms) };
  const sent = requestUnderKey(api, "/x", { method: "POST", json: { a: 1 }, key: "k", clock });
  return { api, waits, sent };
}

describe("a request under a key", () => {
  it("that was cut is sent again, the same under the same key", async () => {
    const { api, waits, sent } = send([CUT, GONE, answered({ ok: true })]);
    expect((await sent).kind).toBe("answered");
    expect(waits).toEqual([1_000, 1_000]);
    expect(api.calls).toHaveLength(3);
    expect(new Set(api.calls.map((call) => JSON.stringify(call))).size).toBe(1);
    expect(api.headers).toEqual(Array.from({ length: 3 }, () => ({ "idempotency-key": "k" })));
  });

  it("is given up after four tries, and at once where nobody was there to hear it", async () => {
    const cut = send([CUT, CUT, CUT, CUT, CUT]);
    expect(await cut.sent).toEqual(CUT);
    expect(cut.api.calls).toHaveLength(4);
    const gone = send([GONE]);
    expect(await gone.sent).toEqual(GONE);
    expect(gone.api.calls).toHaveLength(1);
  });

  it("that is refused is not sent again", async () => {
    const { api, sent } = send([refused(409, "spawning_blocked", "too many fail")]);
    expect((await sent).kind).toBe("refused");
    expect(api.calls).toHaveLength(1);
  });
});
