/** The cards of the machine: found once, and looked at now and then. */
import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import type { GpuDiscovery, GpuFault, GpuReading } from "../gpu/model.ts";
import type { GpuQuery } from "../gpu/query-gpus.ts";
import type { GpuFacts } from "../health-server/model.ts";

/** A card as the control plane is told of it. */
export interface ToldGpu {
  readonly index: number;
  readonly uuid: string;
  readonly name: string;
  readonly memoryTotalBytes: number | null;
  readonly driver: string | null;
  readonly fault: string | null;
}

/** See the head of this file. */
export interface GpuWatch {
  /** Finds the cards anew. */
  discover(signal: AbortSignal): Promise<GpuDiscovery>;
  /** For the health server; cheap. */
  facts(): readonly GpuFacts[];
  /** For the control plane; cheap. */
  told(): readonly ToldGpu[];
  /** Looks at the cards until the signal is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** One program each time: half a second of a core with many cards. */
const EVERY_MS = 60_000;
const PERCENT = 100;

/** Makes it; nothing is asked before `discover`. */
export function createGpuWatch(options: {
  readonly query: GpuQuery;
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly onChange: () => void;
}): GpuWatch {
  const { query, clock, log, onChange } = options;
  let discovery: GpuDiscovery | undefined;
  let readings: readonly GpuReading[] = [];
  let faults: readonly GpuFault[] = [];
  let told = "";

  const tell = (): void => {
    const text = faults.map(({ kind, index, uuid }) => `${kind} ${index} ${uuid}`).join("; ");
    if (text === told) return;
    told = text;
    for (const { index, reason, advice } of faults) {
      log.error({ gpu: index, reason, advice }, "card has a fault");
    }
    onChange();
  };
  const readingOf = (index: number): GpuReading | undefined =>
    readings.find((one) => one.index === index);
  const faultOf = (index: number, uuid: string | null): GpuFault | undefined =>
    faults.find((one) => one.index === index || (uuid !== null && one.uuid === uuid));

  return {
    async discover(signal) {
      discovery = await query.discover(signal);
      faults = discovery.faults;
      if (discovery.failure !== null && !discovery.failure.isNoGpu) {
        const { reason, advice } = discovery.failure;
        log.error({ reason, advice }, "cards could not be found");
      }
      tell();
      return discovery;
    },
    facts: () =>
      (discovery?.gpus ?? []).map((gpu) => {
        const reading = readingOf(gpu.index);
        const percent = reading?.utilizationPercent ?? null;
        return {
          index: gpu.index,
          uuid: gpu.uuid,
          name: gpu.name,
          health: faultOf(gpu.index, gpu.uuid)?.reason ?? "ok",
          memoryTotalBytes: reading?.memoryTotalBytes ?? memoryOf(gpu),
          memoryUsedBytes: reading?.memoryUsedBytes ?? null,
          utilization: percent === null ? null : percent / PERCENT,
          temperatureCelsius: reading?.temperatureC ?? null,
        };
      }),
    told: () =>
      (discovery?.gpus ?? []).map((gpu) => ({
        index: gpu.index,
        uuid: gpu.uuid,
        name: gpu.name,
        memoryTotalBytes: readingOf(gpu.index)?.memoryTotalBytes ?? memoryOf(gpu),
        driver: discovery?.driverVersion ?? null,
        fault: faultOf(gpu.index, gpu.uuid)?.reason ?? null,
      })),
    async run(signal) {
      while (!signal.aborted) {
        const expected = (discovery?.gpus ?? []).map(({ index }) => index);
        if (expected.length > 0) {
          const sample = await query.sample(signal, expected).catch((err: unknown) => {
            if (!signal.aborted) log.warn({ err }, "cards could not be looked at");
            return undefined;
          });
          if (sample !== undefined) {
            readings = sample.readings;
            faults = sample.faults;
            tell();
          }
        }
        await clock.sleep(EVERY_MS, signal).catch(() => undefined);
      }
    },
  };
}

function memoryOf(gpu: GpuDiscovery["gpus"][number]): number | null {
  return gpu.devices.length === 1 ? (gpu.devices[0]?.gpu.memoryTotalBytes ?? null) : null;
}
