/** An experiment of small pictures, a simulated ComfyUI to kill, and the `holdfast` that runs it. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readResults, type ResultRecord } from "@holdfast/experiments";
import { systemClock } from "@holdfast/runtime/system";
import { startSimulator, type Simulator } from "@holdfast/simulator";
import { startHoldfast, temporaryFolder, type HoldfastProcess } from "./processes.ts";

const SPEC = `name: castle
workflow: workflow.json
seed: 42
dimensions:
  subject: { values: [knight, wizard], as: Subject, input: 2.filename_prefix }
  color: { min: 0, max: 999, input: 1.color, as: Tech, label: "c={value}" }
`;
const GRAPH = {
  "1": {
    class_type: "EmptyImage",
    inputs: { width: 32, height: 32, batch_size: 1, color: 0 },
  },
  "2": { class_type: "SaveImage", inputs: { filename_prefix: "x", images: ["1", 0] } },
};

/** What a finished `holdfast` said. */
export interface Said {
  readonly code: number | string;
  /** Standard output and standard error, as they came. */
  readonly output: string;
}

/** See the header. */
export interface ExperimentGround {
  readonly folder: string;
  /** Names of runs whose prompts ComfyUI finished, in order; each name as often as it was rendered. */
  readonly rendered: readonly string[];
  simulator(): Simulator;
  /** Dies for ever in the middle of the run that follows so many finished ones. */
  killAfter(finished: number): void;
  /** A new process at the same address. */
  restart(): Promise<void>;
  begin(args: readonly string[], env?: Readonly<Record<string, string>>): HoldfastProcess;
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Said>;
  /** Any command, to its end. */
  holdfast(args: readonly string[]): Promise<Said>;
  /** The folder of results. */
  results(): string;
  records(): readonly ResultRecord[];
  /** Pictures that ComfyUI has saved so far. */
  count(): number;
  close(): Promise<void>;
}

/** Makes one. */
export async function experimentGround(): Promise<ExperimentGround> {
  const folder = await temporaryFolder();
  writeFileSync(join(folder.path, "castle.yaml"), SPEC);
  writeFileSync(join(folder.path, "workflow.json"), JSON.stringify(GRAPH));
  mkdirSync(join(folder.path, "out"));
  const home = join(folder.path, "home");
  const rendered: string[] = [];
  const started: HoldfastProcess[] = [];
  let killAfter = Infinity;
  let simulator: Simulator;
  const start = async (port: number): Promise<Simulator> =>
    await startSimulator({
      clock: systemClock,
      timeScale: 0,
      port,
      onNodeDone: ({ promptId, classType }) => {
        if (classType === "SaveImage") rendered.push(promptId);
        else if (classType === "EmptyImage" && rendered.length >= killAfter) {
          killAfter = Infinity;
          simulator.crash(null);
        }
      },
    });
  simulator = await start(0);
  const begin: ExperimentGround["begin"] = (args, env = {}) => {
    // What is given last counts.
    const output = ["--output", join(folder.path, "out")];
    const words = ["experiment", "run", join(folder.path, "castle.yaml"), ...output, ...args];
    const one = startHoldfast("experiment", words, {
      HOLDFAST_HOME: home,
      COMFYUI_URL: simulator.url,
      HEALTH_CHECK_RETRY_DELAY: "0.2",
      ...env,
    });
    started.push(one);
    return one;
  };
  const results = (): string => {
    const [name = ""] = readdirSync(join(folder.path, "out"));
    return join(folder.path, "out", name);
  };
  return {
    folder: folder.path,
    rendered,
    simulator: () => simulator,
    killAfter: (finished) => {
      killAfter = finished;
    },
    async restart() {
      const { port } = simulator;
      await simulator.stop();
      simulator = await start(port);
    },
    begin,
    async run(args, env) {
      const one = begin(args, env);
      return { code: await one.exited, output: one.output() };
    },
    async holdfast(args) {
      const one = startHoldfast(args.slice(0, 2).join(" "), args, { HOLDFAST_HOME: home });
      started.push(one);
      return { code: await one.exited, output: one.output() };
    },
    results,
    records: () => readResults(readFileSync(join(results(), "results.ndjson"), "utf8")).records,
    count: () => rendered.length,
    async close() {
      for (const one of started) await one.kill();
      await simulator.stop();
      await folder.remove();
    },
  };
}
