/** A serving machine of two cards over a host that is made up, made anew for each test. */
import type { ServedInstance } from "@holdfast/agent";
import { seededRandom } from "@holdfast/runtime";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import type { GpuDiscovery } from "@holdfast/gpu";
import type { Installer, RollbackRequest } from "../src/install/installer.ts";
import { holdWords, type ReleaseHold } from "../src/install/release/release-hold.ts";
import type { Release } from "../src/instances/model.ts";
import { machinePlaces } from "../src/machine-places.ts";
import type { InstallerParts } from "../src/machine/installer-parts.ts";
import { ServingMachine } from "../src/machine/serving-machine.ts";
import { manifestSchema } from "../src/manifest/model.ts";
import { FakeHost, FakeLocks, rememberingLog } from "./fake-host.ts";
import { fakeRooms } from "./fake-rooms.ts";
import { release as releaseOf } from "./instance-facts.ts";

export const NOBODY = new AbortController().signal;
/** Port of the first instance. */
export const FIRST = 8_188;

/** Cards 0 to `count`, all of them well. */
export const found = (count: number): GpuDiscovery => ({
  gpus: Array.from({ length: count }, (_, index) => {
    const gpu = { index, uuid: `GPU-${index}`, name: "A card", memoryTotalBytes: 1 };
    return { ...gpu, computeCapability: null, devices: [{ gpu, migIndex: null }] };
  }),
  faults: [],
  failure: null,
  driverVersion: null,
  cudaVersion: null,
});

export const manifest = (over: Record<string, unknown> = {}) => ({
  digest: "d",
  manifest: manifestSchema.parse({
    version: 1,
    comfyui: { repo: "/repo", ref: "v1" },
    instances: { basePort: FIRST, startTimeoutSec: 60, drainSec: 30 },
    ...over,
  }),
});

export class ServingKit {
  readonly clock: FakeClock = createFakeClock();
  readonly host = new FakeHost();
  readonly locks = new FakeLocks();
  readonly log = rememberingLog();
  linked: Release | undefined = releaseOf("r1");
  previous: string | null = null;
  hold: ReleaseHold | null = null;
  /** Throws instead of reading the link. */
  currentError: Error | null = null;
  served: readonly ServedInstance[] = [];
  readonly told: string[] = [];
  kills = 0;
  cardFault: (gpu: { readonly index: number }) => string | null = () => null;
  discovery = found(2);
  readonly #installer = {
    current: () =>
      this.currentError === null ? Promise.resolve(this.linked) : Promise.reject(this.currentError),
    status: () =>
      Promise.resolve({
        lock: this.linked === undefined ? null : { release: this.linked.id },
        current: this.linked?.id ?? null,
        previous: this.previous,
        hold: this.hold,
      }),
    rollback: (_signal: AbortSignal, { to, leaving }: RollbackRequest = {}) => {
      const from = this.linked?.id ?? null;
      this.linked = releaseOf(to ?? this.previous ?? "none");
      this.previous = from;
      const by = leaving === undefined ? "operator" : "machine";
      const reason = leaving ?? null;
      this.hold = { version: 1, manifests: ["d"], from, to: this.linked.id, at: 1, by, reason };
      return Promise.resolve({ kind: "rolled_back", from, to: this.linked.id, hold: this.hold });
    },
  } as unknown as Installer;
  machine = this.makeMachine();

  makeMachine(attached: readonly ServedInstance[] = []): ServingMachine {
    return new ServingMachine({
      places: machinePlaces("/srv/machine"),
      home: "/home/agent",
      env: { PATH: "/bin" },
      rooms: fakeRooms(this.host, this.locks, () => {
        this.kills += 1;
        return Promise.resolve();
      }),
      clock: this.clock,
      random: seededRandom(1),
      log: this.log,
      agent: {
        instanceHealth: (url) => this.host.health(url),
        pauseInstance: (url, ms, signal) => this.host.pause(url, ms, signal),
        resumeInstance: (url) => this.host.resume(url),
        refreshInventories: () => this.told.push("inventories"),
        setInstances: (instances) => {
          this.served = instances;
          return Promise.resolve();
        },
      },
      attached,
      gpus: {
        cardFault: (gpu) => this.cardFault(gpu),
        runsOn: () => true,
        discover: () => Promise.resolve(this.discovery),
      },
      healthPort: () => 9_090,
      serviceState: () => undefined,
      installation: {
        note: (facts) => {
          this.told.push(`serving ${facts.serving}`);
          if (facts.hold) this.told.push(holdWords(facts.hold));
        },
        status: () => ({ state: "installed", detail: null, version: this.linked?.id ?? null }),
      },
      onChange: () => undefined,
      onSources: () => this.told.push("sources"),
    });
  }

  parts(fetch: InstallerParts["fetch"] = () => Promise.resolve()): InstallerParts {
    return { installer: this.#installer, fetch } as InstallerParts;
  }

  async set(over: Record<string, unknown> = {}, given = this.parts()): Promise<void> {
    const setting = this.machine.setManifest(manifest(over), given, NOBODY);
    await this.clock.advance(5_000);
    await setting;
  }

  /** Takes the machine to the release that is linked, within `ms`. */
  async refresh(ms: number): Promise<void> {
    const refreshing = this.machine.refreshRelease(NOBODY);
    await this.clock.advance(ms);
    await refreshing;
  }

  names(): readonly string[] {
    return this.machine.sources().map(({ name }) => name);
  }

  alive(name: string) {
    return this.host.processes.find((one) => one.name === name && one.isAlive);
  }

  async close(): Promise<void> {
    const left = this.machine.leave().catch(() => undefined);
    await this.clock.advance(60_000);
    await left;
    if (this.clock.sleeperCount() > 0) throw new Error("somebody still sleeps");
  }
}
