import type { SmiRun } from "@holdfast/gpu";
import { NVIDIA_SMI_ARGS } from "@holdfast/load";
import { describe, expect, it } from "vitest";
import { CommandFailure } from "../command-failure.ts";
import type { CardReading } from "../load/load-target.ts";
import { openCardLooks, samplesOf } from "./card-looks.ts";

const LINE = "2026/11/28 12:00:00.123, 45, 8123";
const answered = (stdout: string): SmiRun => ({
  ended: "exited",
  exitCode: 0,
  stdout,
  stderr: "",
});
const NOT_FOUND: SmiRun = { ended: "not_found", exitCode: null, stdout: "", stderr: "" };
const TOLD: CardReading = {
  gpu: 0,
  utilisationPercent: null,
  memoryUsedMb: 500,
  source: "system_stats",
};
const never = new AbortController().signal;

/** Answers of nvidia-smi in their order, the last one again and again. */
async function open(
  answers: readonly SmiRun[],
  {
    url = "http://127.0.0.1:8188",
    nvidiaSmi = null as string | null | false,
    told = [] as readonly CardReading[] | null,
  } = {},
) {
  const asked: (readonly [string, readonly string[]])[] = [];
  const cards = told === null ? {} : { cards: () => Promise.resolve(told) };
  const looks = await openCardLooks(
    { url, ...cards },
    {
      nvidiaSmi,
      signal: never,
      smi(program, args) {
        asked.push([program, args]);
        return Promise.resolve(answers[asked.length - 1] ?? answers.at(-1) ?? NOT_FOUND);
      },
    },
  );
  return { looks, asked };
}

describe("a look at the cards", () => {
  it("has nvidia-smi's lines as they came, and what both sources say", async () => {
    const { looks, asked } = await open([answered(`${LINE}\n`)], { told: [TOLD] });
    expect(looks).toMatchObject({ hasSmi: true, notes: [] });
    const look = await looks.look(never);
    expect(look.lines).toEqual([LINE]);
    expect(look.cards).toEqual([
      { gpu: 0, utilisationPercent: 45, memoryUsedMb: 8_123, source: "nvidia-smi" },
      TOLD,
    ]);
    expect(samplesOf(look, 70).map(({ atMs }) => atMs)).toEqual([70, 70]);
    expect(asked).toEqual([
      ["nvidia-smi", NVIDIA_SMI_ARGS],
      ["nvidia-smi", NVIDIA_SMI_ARGS],
    ]);
  });

  it("goes on without nvidia-smi where that fails later", async () => {
    const { looks } = await open([answered(LINE), NOT_FOUND, answered(LINE)], { told: [TOLD] });
    expect(await looks.look(never)).toEqual({ lines: [], cards: [TOLD] });
    expect((await looks.look(never)).lines).toEqual([LINE]);
  });

  it("says what is not known, and why", async () => {
    const { looks } = await open([NOT_FOUND], { told: null });
    expect(looks.hasSmi).toBe(false);
    expect(looks.notes).toEqual([
      expect.stringMatching(/^nvidia-smi tells nothing of cards: /),
      "The server told of no card either: peak VRAM is not known.",
    ]);
    expect(await looks.look(never)).toEqual({ lines: [], cards: [] });
    const silent = await open([answered("")]);
    expect(silent.looks.notes[0]).toBe("nvidia-smi tells nothing of cards: it told of no card.");
    const told = await open([NOT_FOUND], { told: [TOLD] });
    expect(told.looks.notes).toHaveLength(1);
  });
});

describe("nvidia-smi of this host", () => {
  it("is not asked of a server elsewhere, unless it was named", async () => {
    const url = "http://gpu-7.example:8188";
    const left = await open([answered(LINE)], { url });
    expect(left.asked).toEqual([]);
    expect(left.looks.notes[0]).toContain("The server is on another host");
    const named = await open([answered(LINE)], { url, nvidiaSmi: "/opt/smi" });
    expect(named.asked).toEqual([["/opt/smi", NVIDIA_SMI_ARGS]]);
    expect(named.looks.hasSmi).toBe(true);
  });

  it("is not asked where nobody wants it", async () => {
    const { looks, asked } = await open([answered(LINE)], { nvidiaSmi: false, told: [TOLD] });
    expect(asked).toEqual([]);
    expect(looks.notes).toEqual([
      "nvidia-smi was not asked: how busy the cards were is not known.",
    ]);
  });

  it("that was named and does not answer is refused", async () => {
    const failure = await open([NOT_FOUND], { nvidiaSmi: "/opt/smi" }).catch(
      (error: unknown) => error,
    );
    expect(failure).toBeInstanceOf(CommandFailure);
    expect(failure).toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(/^--nvidia-smi \/opt\/smi: .*Nothing was sent\.$/) as string,
    });
  });
});
