import type { AttemptOutcome, AttemptReport } from "@holdfast/contract";
import { describe, expect, it } from "vitest";
import { renderedOf, type SeenOfOrder } from "./order-result.ts";

const rendered = (outcome: unknown, seen: Partial<SeenOfOrder> = {}) =>
  renderedOf(
    {
      outcome: outcome as AttemptOutcome,
      timings: { executeMs: 128_011, queueMs: 0.2 },
    } as unknown as AttemptReport,
    (sha256) => sha256,
    { vramPeakBytes: undefined, isFound: false, endedAt: undefined, health: undefined, ...seen },
  );
const evidence = (channel: string, message: string, more = {}) => ({ channel, message, ...more });
const died = (reason: string) => ({
  kind: "instance_died",
  evidence: evidence("process_exit", reason),
  outputs: [],
});
const message = (...args: Parameters<typeof rendered>) => rendered(...args).failure?.message;

describe("what became of a run, in words", () => {
  it("is no code word of ours where ComfyUI died", () => {
    expect(rendered(died("connection_refused")).failure).toMatchObject({
      class: "instance_crash",
      message: "ComfyUI refused the connection: its process has ended",
      isInfrastructure: true,
    });
    expect(message(died("number_went_back"))).toBe(
      "ComfyUI was started anew during the run: its count of prompts began again",
    );
    expect(message(died("no answer for 120000 ms: no answer within 30000 ms"))).toBe(
      "ComfyUI stopped answering (for 120 s)",
    );
    expect(message(died("something new"))).toBe("ComfyUI ended during the run: something new");
  });

  it("says that a run never began, and why", () => {
    const released = (reason: string) => ({ kind: "released", reason });
    const given = "; the run was given back before it began";
    const frozen = "a prompt neither moves nor can be interrupted";
    expect(message(released("displaced"), { health: frozen })).toBe(
      `ComfyUI was not well (${frozen})${given}`,
    );
    expect(message(released("displaced"), { health: "no answer for 120000 ms: x" })).toBe(
      `ComfyUI stopped answering (for 120 s)${given}`,
    );
    expect(message(released("displaced"))).toBe(`ComfyUI was not well${given}`);
    expect(message(released("the instance died before this began: connection_refused"))).toBe(
      `ComfyUI refused the connection: its process has ended${given}`,
    );
    expect(message(released("waited too long behind other prompts"))).toBe(
      `waited too long behind other prompts${given}`,
    );
    expect(message({ kind: "interrupted", reason: "drain" })).toBe(
      "the run was interrupted before it ended",
    );
  });
});

describe("how long a run executed", () => {
  const execute = (outcome: unknown) => rendered(outcome).facts.executeMs;
  const stalled = (interruptConfirmed: boolean) => ({
    kind: "stalled",
    evidence: evidence("stall", "No sign.", { extra: { interruptConfirmed } }),
    outputs: [],
  });

  it("is what ComfyUI told, and not known of one that it never ended", () => {
    expect(execute({ kind: "succeeded", outputs: [] })).toBe(128_011);
    const failed = (channel: string) => ({ kind: "failed", evidence: evidence(channel, "x") });
    expect(execute(failed("execution"))).toBe(128_011);
    expect(execute(stalled(true))).toBe(128_011);
    expect(execute(stalled(false))).toBeUndefined();
    expect(execute(failed("history"))).toBeUndefined();
    expect(execute(died("connection_refused"))).toBeUndefined();
    expect(execute({ kind: "released", reason: "displaced" })).toBeUndefined();
  });

  it("is the run's own trouble where it could be interrupted, and else ComfyUI's", () => {
    expect(rendered(stalled(true)).failure?.isInfrastructure).toBe(false);
    expect(rendered(stalled(false)).failure?.isInfrastructure).toBe(true);
    const tooLong = (interruptConfirmed: boolean) => ({
      ...stalled(interruptConfirmed),
      kind: "failed",
    });
    expect(rendered(tooLong(false)).failure?.isInfrastructure).toBe(true);
    expect(rendered(tooLong(true)).failure?.isInfrastructure).toBe(false);
  });

  it("has no time in the queue where the run was found again: its start was not seen", () => {
    expect(rendered({ kind: "succeeded", outputs: [] }).facts.queueMs).toBe(0.2);
    const { facts } = rendered(
      { kind: "succeeded", outputs: [] },
      { isFound: true, endedAt: 5_000 },
    );
    expect(facts.queueMs).toBeUndefined();
    expect(facts.span).toEqual({ endedAt: 5_000 });
  });
});
