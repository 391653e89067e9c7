import { describe, expect, test } from "vitest";
import { decideTorch } from "./torch-decision.ts";

const lock = { torch: { backend: "cu128", version: null } };
const uncertain = { reason: "no answer", advice: "Reboot.", isUsable: false };
const cpu = { backend: "cpu", warning: "w" };

describe("the build of PyTorch", () => {
  test("is what the machine comes to when it could tell", () => {
    expect(decideTorch(cpu, lock)).toEqual({ ...cpu, problem: null });
    expect(decideTorch({ ...cpu, uncertain: null }, undefined)).toEqual({ ...cpu, problem: null });
  });

  test("is that of the release that serves when it could not, whatever it would be now", () => {
    const kept = {
      backend: "cu128",
      warning: expect.stringMatching(/stays cu128.*no answer/),
      problem: null,
    };
    expect(decideTorch({ ...cpu, uncertain }, lock)).toEqual(kept);
    expect(decideTorch({ ...cpu, uncertain: { ...uncertain, isUsable: true } }, lock)).toEqual(
      kept,
    );
  });

  test("is not guessed when there is no release yet", () => {
    expect(decideTorch({ ...cpu, uncertain }, undefined).problem).toEqual({
      subject: "torch",
      message: "which build of PyTorch fits cannot be told: no answer",
      advice: expect.stringMatching(/^Reboot\. .*torch\.backend/),
    });
  });

  test("fits the cards that were found, when some were", () => {
    const chosen = { backend: "cu126", warning: null };
    expect(
      decideTorch({ ...chosen, uncertain: { ...uncertain, isUsable: true } }, undefined),
    ).toEqual({ ...chosen, problem: null });
  });
});
