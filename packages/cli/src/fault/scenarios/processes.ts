import { pictures, type Scenario } from "../scenario.ts";
import { renderedElsewhere, sawOutcome, wasTold } from "./checks.ts";

const DOWN_MS = 1_500;
const CRASH_RULE = "instance_crashed";

/** ComfyUI is killed in mid-render, and started again. */
export const comfyuiCrash: Scenario = {
  name: "comfyui-crash",
  title: "ComfyUI is killed (signal 9) in mid-render and started again",
  expectation: "its job is queued again and completes; an alert is sent",
  plan: { comfyuis: 1, isOneMachine: true, replicas: 1 },
  bare: "possible",
  real: { notHere: "it would kill a ComfyUI that others may use" },
  work: (facts) => pictures(facts, 0.5),
  begin: ({ struck, clock, signal }) => {
    let kills = 0;
    return Promise.resolve({
      how: "ComfyUI's process was killed in mid-render",
      async strike() {
        await struck.kill();
        kills += 1;
        await clock.sleep(DOWN_MS, signal);
        await struck.revive();
      },
      struck: () => Promise.resolve(kills),
      end: () => struck.revive(),
    });
  },
  isAllSeen: ({ holdfast }) =>
    holdfast?.told().some(({ rule, status }) => rule === CRASH_RULE && status === "firing") ?? true,
  check: (seen) => [sawOutcome(seen, "instance_died"), wasTold(seen, CRASH_RULE)],
};

/** ComfyUI answers 200 to everything and renders nothing any more (F26). */
export const zombie: Scenario = {
  name: "zombie",
  title: "one ComfyUI answers 200 to everything and renders nothing any more",
  expectation: "the stall is found and its jobs are rendered elsewhere",
  plan: {
    comfyuis: 2,
    isOneMachine: false,
    replicas: 1,
    settings: { HOLDFAST_STALL_MS: "10000", HOLDFAST_FIRST_LOAD_STALL_MS: "10000" },
  },
  bare: "possible",
  real: { notHere: "it takes a restart to mend, and the process is not ours" },
  work: (facts) => pictures(facts, 0.5),
  begin: ({ struck }) => {
    let ended = 0;
    return Promise.resolve({
      how: "the thread of ComfyUI that runs prompts ended; its server goes on",
      async strike() {
        // It strikes at once, and an answer other than 201 throws.
        await struck.add({ kind: "zombie" });
        ended += 1;
      },
      struck: () => Promise.resolve(ended),
      end: () => Promise.resolve(),
    });
  },
  check: (seen) => [
    sawOutcome(seen, "stalled", "instance_died"),
    renderedElsewhere(seen, "on the other ComfyUI"),
  ],
};
