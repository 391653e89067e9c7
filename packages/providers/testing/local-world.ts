/** A world of the contract in which machines are real processes of this host. */
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock, Failpoints } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import type { FleetLabel } from "../src/label.ts";
import { LOCAL_OFFER } from "../src/local/machines.ts";
import { createLocalProvider } from "../src/local/provider.ts";
import { localSettingsSchema } from "../src/local/settings.ts";
import type { MachineProvider } from "../src/port.ts";
import { CONTRACT_LABEL, type ContractWorld } from "./provider-contract.ts";

/** What a test may want otherwise. */
export interface LocalOverrides {
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly failpoints?: Failpoints;
  readonly clock?: Clock;
  readonly poolMax?: number;
}

/** See the head of this file. */
export interface LocalWorld extends ContractWorld {
  readonly root: string;
  provider(label: FleetLabel, over?: LocalOverrides): MachineProvider;
}

const MAX_MACHINES = 3;
const SETTLE_MS = 15_000;
const none = new AbortController().signal;

/** Makes a folder whose machines run this script (`/bin/sh`). */
export async function openLocalWorld(script = "exec sleep 600"): Promise<LocalWorld> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-local-"));
  const root = join(folder, "machines");
  const program = join(folder, "agent.sh");
  await writeFile(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const labels = new Map<string, FleetLabel>();
  const provider = (label: FleetLabel, over: LocalOverrides = {}): MachineProvider => {
    labels.set(JSON.stringify(label), label);
    return createLocalProvider({
      settings: localSettingsSchema.parse({
        maxMachines: MAX_MACHINES,
        graceSeconds: 1,
        ...over.settings,
      }),
      label,
      clock: over.clock ?? systemClock,
      poolMax: over.poolMax ?? MAX_MACHINES,
      defaultRoot: root,
      defaultCommand: [program],
      baseEnv: { PATH: process.env["PATH"] ?? "", HOME: folder },
      ...(over.failpoints === undefined ? {} : { failpoints: over.failpoints }),
    });
  };
  const fillers = [1, 2, 3].map((index) => `filler-${index}`);
  const withOwn = async (label: FleetLabel, run: (by: MachineProvider) => Promise<void>) => {
    const by = provider(label);
    try {
      await run(by);
    } finally {
      await by.close();
    }
  };
  const settle = (label: FleetLabel): Promise<void> =>
    withOwn(label, async (by) => {
      const deadline = systemClock.elapsed() + SETTLE_MS;
      for (;;) {
        const listed = await by.list(none);
        const isQuiet = listed.kind === "ok" && listed.value.every((one) => one.state !== "ending");
        if (isQuiet) return;
        if (systemClock.elapsed() > deadline) throw new Error(`still ${JSON.stringify(listed)}`);
        await systemClock.sleep(20);
      }
    });
  const settleAll = async (): Promise<void> => {
    for (const label of labels.values()) await settle(label);
  };
  return {
    root,
    provider,
    secrets: ["value-of-the-pool"],
    async fail(fault) {
      if (fault === "invalid") await rename(program, `${program}.gone`);
      else {
        await withOwn(CONTRACT_LABEL, async (by) => {
          for (const name of fillers) await by.create({ name, offer: LOCAL_OFFER, env: {} }, none);
        });
      }
    },
    async heal() {
      await rename(`${program}.gone`, program).catch(() => undefined);
      await withOwn(CONTRACT_LABEL, async (by) => {
        for (const name of fillers) await by.terminate(name, none);
      });
    },
    // Its list never lags; what may take time is an end.
    pass: settleAll,
    async close() {
      for (const label of labels.values()) {
        await withOwn(label, async (by) => {
          const listed = await by.list(none);
          if (listed.kind === "trouble") throw new Error(listed.trouble.message);
          for (const { ref } of listed.value) await by.terminate(ref, none);
        });
      }
      await settleAll();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
