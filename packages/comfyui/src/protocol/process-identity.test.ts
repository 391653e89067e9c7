import { expect, test } from "vitest";
import {
  observeProcess,
  UNOBSERVED_PROCESS,
  type ProcessIdentity,
  type ProcessSign,
} from "./process-identity.ts";

function after(...signs: ProcessSign[]): ProcessIdentity {
  return signs.reduce(observeProcess, UNOBSERVED_PROCESS);
}
const accepted = (number: number, promptId = `p${number}`): ProcessSign => ({
  kind: "accepted",
  promptId,
  number,
});
const looked = (promptId: string, where: "queue" | "history" | "nowhere"): ProcessSign => ({
  kind: "looked_up",
  promptId,
  where,
});
const refused: ProcessSign = { kind: "connection_refused" };
const broke: ProcessSign = { kind: "socket_closed", code: 1006 };

test("an ordinary life keeps one identity", () => {
  const identity = after(
    { kind: "versions", text: "v" },
    accepted(0),
    looked("p0", "queue"),
    looked("p0", "history"),
    accepted(1),
    looked("p1", "queue"),
    { kind: "removed", promptId: "p0" },
    looked("p0", "nowhere"),
    { kind: "versions", text: "v" },
  );
  expect(identity.generation).toBe(0);
});

test("a refused connection is one death, however often it is tried", () => {
  const dead = after(accepted(5), refused, refused, refused);
  expect(dead).toMatchObject({ generation: 1, reason: "connection_refused", isGone: true });
  expect(observeProcess(dead, accepted(0))).toMatchObject({ generation: 1, isGone: false });
  expect([accepted(0), refused].reduce(observeProcess, dead).generation).toBe(2);
});

test("a prompt number that goes back means a new process", () => {
  expect(after(accepted(7), accepted(0))).toMatchObject({
    generation: 1,
    reason: "number_went_back",
  });
  expect(after(accepted(7), accepted(8)).generation).toBe(0);
});

test("a history entry that was there and is gone means a new process, unless we removed it", () => {
  expect(after(looked("a", "history"), looked("a", "nowhere"))).toMatchObject({
    generation: 1,
    reason: "history_lost",
  });
  expect(
    after(looked("a", "history"), { kind: "removed", promptId: "a" }, looked("a", "nowhere"))
      .generation,
  ).toBe(0);
});

test("a vanished queue item counts only together with a broken socket", () => {
  expect(after(accepted(1, "a"), looked("a", "nowhere")).generation).toBe(0);
  expect(after(accepted(1, "a"), broke, looked("a", "nowhere"))).toMatchObject({
    generation: 1,
    reason: "queue_lost",
  });
  expect(
    after(accepted(1, "a"), broke, looked("a", "queue"), looked("a", "nowhere")).generation,
  ).toBe(0);
  expect(
    after(accepted(1, "a"), { kind: "socket_closed", code: 1000 }, looked("a", "nowhere"))
      .generation,
  ).toBe(0);
});

test("another version or command line means a new process", () => {
  expect(after({ kind: "versions", text: "1" }, { kind: "versions", text: "2" })).toMatchObject({
    generation: 1,
    reason: "versions_changed",
  });
});

test("one restart with several signs is counted once", () => {
  const identity = after(
    accepted(4, "a"),
    looked("a", "history"),
    refused,
    accepted(0, "b"),
    looked("a", "nowhere"),
  );
  expect(identity.generation).toBe(1);
});

test("memory is bounded, the oldest go first", () => {
  const signs = Array.from({ length: 3_000 }, (_, i) => accepted(i));
  const identity = after(...signs);
  expect(identity.seen.size).toBe(1_000);
  expect(identity.seen.has("p2999")).toBe(true);
});
