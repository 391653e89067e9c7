/** An experiment's facts and pictures as a page shows them, with everything that can happen to a run. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ComparedRun, ComparisonFacts, HealthRecord } from "@holdfast/experiments";
import { encodePng } from "../../packages/simulator/src/pixels/png.ts";

const SUBJECTS = ["knight", "wizard", "a very old dragon that guards what nobody wants any more"];
const SETTINGS = ["castle at dawn", "misty harbour", "desert"];
const SAMPLERS = ["euler", "dpmpp_2m", "ddim"];
const STEPS = [20, 40, 80];
const CHECK_INTERVAL = 10;
/** ComfyUI is down when this one is running. */
const DOWN_AT = 118;
const START = Date.UTC(2026, 0, 2, 3, 0);
const RUN_MS = 21_000;
const SIZE = { width: 192, height: 128 };

const at = (run: number): string => new Date(START + run * RUN_MS).toISOString();
const pick = <Value>(values: readonly Value[], number: number): Value => {
  const value = values[number % values.length];
  if (value === undefined) throw new Error("no values to pick from");
  return value;
};

/** Facts of `count` runs: several of each combination, some failed, one outage. */
export function castleFacts(count: number): ComparisonFacts {
  const runs = Array.from({ length: count }, (_, index) => castleRun(index));
  return {
    name: "castle",
    specHash: "9f2c61d0".repeat(8),
    writtenAt: at(count + 5),
    counts: {
      planned: count,
      completed: runs.filter(({ status }) => status === "completed").length,
      failed: runs.filter(({ status }) => status !== "completed").length,
      repeated: runs.filter(({ attempts }) => attempts > 1).length,
    },
    dimensions: [
      { name: "sampler", values: SAMPLERS },
      { name: "steps", values: STEPS },
      { name: "subject", values: SUBJECTS },
      { name: "setting", values: SETTINGS },
    ],
    runs,
    healthChecks: castleChecks(count),
    best: [
      { index: 7, why: "highest rating" },
      { index: 30, why: "by hand" },
    ],
  };
}

function castleRun(index: number): ComparedRun {
  const [sampler, steps] = [pick(SAMPLERS, index), pick(STEPS, Math.floor(index / 3))];
  const [subject, setting] = [
    pick(SUBJECTS, Math.floor(index / 9)),
    pick(SETTINGS, Math.floor(index / 27)),
  ];
  const isDown = index >= DOWN_AT - 2 && index < DOWN_AT + 2;
  const status = index % 23 === 4 ? "failed" : index === 249 ? "down" : "completed";
  const errorOf = {
    completed: null,
    failed: {
      class: "oom",
      message: "CUDA out of memory. Tried to allocate 2.00 GiB on node 3 KSampler",
    },
    down: { class: "connection", message: "connect ECONNREFUSED 127.0.0.1:8188" },
  } as const;
  const isRecovered = index % 19 === 3;
  return {
    index,
    name: `exp_${String(index).padStart(4, "0")}`,
    title: `${setting}_35mm`,
    seed: 42_000 + index,
    values: { sampler, steps, subject, setting },
    set: [
      { nodeId: "3", input: "sampler_name", value: sampler },
      { nodeId: "3", input: "steps", value: steps },
      { nodeId: "6", input: "text", value: `${subject}, it's in the ${setting}` },
    ],
    status,
    startedAt: at(index),
    endedAt: at(index + 1),
    durationMs: 2_000 + steps * 90 + ((index * 7_919) % 1_000),
    error: errorOf[status],
    attempts: isDown ? 2 : 1,
    earlier: isDown
      ? [{ attempt: 1, endedAt: at(index + 1), ...errorOf.down, isInfrastructure: true }]
      : [],
    recovery: isRecovered ? ["free_memory", "tiled_vae"] : [],
    loss: isRecovered ? 1 : 0,
    // As `holdfast experiment run` writes them, and what somebody rated.
    metrics: {
      attempts: 1,
      loss: isRecovered ? 1 : 0,
      queue_seconds: (index % 7) / 10,
      ...(index % 2 ? { rating: 1 + ((index * 31) % 50) / 10 } : {}),
    },
    images: status === "completed" ? [{ path: picturePath(index), ...SIZE }] : [],
  };
}

function castleChecks(count: number): readonly HealthRecord[] {
  const checks: HealthRecord[] = [];
  for (let experiment = 0; experiment <= count; experiment += CHECK_INTERVAL) {
    const isDown = experiment === Math.ceil(DOWN_AT / CHECK_INTERVAL) * CHECK_INTERVAL;
    for (const attempt of isDown ? [1, 2, 3] : [1]) {
      const isHealthy = attempt === 3 || !isDown;
      checks.push({
        at: at(experiment + attempt / 4),
        check: experiment === 0 ? "pre_flight" : "periodic",
        experiment,
        attempt,
        decision: isHealthy ? "passed" : "retry",
        services: [
          {
            service: "ComfyUI",
            isHealthy,
            status: isHealthy ? "ok" : "unreachable",
            message: isHealthy ? "ComfyUI is healthy" : "Cannot connect to ComfyUI server",
          },
          { service: "MinIO", isHealthy: true, status: "ok", message: "MinIO is healthy" },
        ],
      });
    }
  }
  return checks;
}

/** Pictures repeat, so that thousands of runs need no thousands of files. */
const PICTURES = 54;
const picturePath = (index: number): string => `images/picture ${index % PICTURES}#a.png`;

/** Draws a picture for each combination: a sky in a colour of its own, hills and a sun. */
export async function drawPictures(folder: string): Promise<void> {
  await mkdir(join(folder, "images"), { recursive: true });
  for (let index = 0; index < PICTURES; index += 1) {
    await writeFile(join(folder, picturePath(index)), drawPicture(index));
  }
}

function drawPicture(index: number): Uint8Array {
  const { width, height } = SIZE;
  const rgb = new Uint8Array(width * height * 3);
  const hue = (index * 47) % 360;
  const sun = {
    x: 30 + ((index * 37) % 130),
    y: 24 + ((index * 11) % 30),
    radius: 8 + (index % 3) * 5,
  };
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const hill = 84 + 14 * Math.sin(x / 24 + index) + 6 * Math.sin(x / 7 + index * 2);
      const isSun = Math.hypot(x - sun.x, y - sun.y) < sun.radius;
      const light = y > hill ? 0.25 : isSun ? 0.95 : 0.5 + (0.35 * y) / height;
      rgb.set(colour(y > hill ? hue + 120 : hue, light), (y * width + x) * 3);
    }
  }
  return encodePng(width, height, rgb);
}

/** A hue in degrees and a lightness as red, green and blue. */
function colour(hue: number, light: number): number[] {
  return [0, 8, 4].map((shift) => {
    const along = (shift + hue / 30) % 12;
    const part =
      light - 0.5 * Math.min(light, 1 - light) * Math.max(-1, Math.min(along - 3, 9 - along, 1));
    return Math.round(255 * part);
  });
}
