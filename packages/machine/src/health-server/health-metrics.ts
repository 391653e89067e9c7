/** `GET /metrics`: the same facts for Prometheus. Labels are names of the configuration, never ids. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { SERVICE_STATES } from "../services/model.ts";
import type { ServiceChange } from "../services/service-registry.ts";
import type { MachineView } from "./machine-view.ts";
import type { GpuFacts } from "./model.ts";

/** The metrics of one server, in a registry of their own. */
export interface HealthMetrics {
  readonly contentType: string;
  text(): Promise<string>;
  /** Counts a change; the registry's listener. */
  onChange(change: ServiceChange): void;
  /** `route` is the pattern, never the path. */
  onAnswer(answer: {
    readonly route: string;
    readonly status: number;
    readonly seconds: number;
  }): void;
}

const SECONDS_BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];

/** Makes the metrics. `view` is asked at every scrape. */
export function createHealthMetrics(view: () => MachineView): HealthMetrics {
  const registry = new Registry();
  const registers = [registry];
  const transitions = new Counter({
    name: "holdfast_service_transitions_total",
    help: "Changes of a service's state since this program began, by the state it came to",
    labelNames: ["service", "to"] as const,
    registers,
  });
  const requests = new Histogram({
    name: "holdfast_health_request_seconds",
    help: "Time to answer a request to the health server, by route pattern",
    labelNames: ["route", "status"] as const,
    buckets: SECONDS_BUCKETS,
    registers,
  });
  addServiceMetrics(registry, view);
  addMachineMetrics(registry, view);
  addGpuMetrics(registry, view);
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    onChange(change) {
      if (change.kind !== "transition") return;
      transitions.inc({ service: change.report.name, to: change.transition.to });
    },
    onAnswer({ route, status, seconds }) {
      // By class of status: a caller cannot make new series by failing in new ways.
      requests.observe({ route, status: `${Math.trunc(status / 100)}xx` }, seconds);
    },
  };
}

function addServiceMetrics(registry: Registry, view: () => MachineView): void {
  const registers = [registry];
  const states: Gauge<"service" | "state"> = new Gauge({
    name: "holdfast_service_state",
    help: "1 for the state that a service is in, 0 for the others",
    labelNames: ["service", "state"],
    registers,
    collect() {
      states.reset(); // Services that were removed are told no more.
      for (const { name, state } of view().services.reports()) {
        for (const one of SERVICE_STATES) {
          states.set({ service: name, state: one }, one === state ? 1 : 0);
        }
      }
    },
  });
  const restarts: Counter<"service"> = new Counter({
    name: "holdfast_service_restarts_total",
    help: "Starts of a service's process since this program began, the first not counted",
    labelNames: ["service"],
    registers,
    collect() {
      restarts.reset();
      for (const { name, runtime } of view().services.reports()) {
        restarts.inc({ service: name }, Math.max(0, runtime.restarts));
      }
    },
  });
}

function addMachineMetrics(registry: Registry, view: () => MachineView): void {
  const registers = [registry];
  const ready: Gauge = new Gauge({
    name: "holdfast_machine_ready",
    help: "1 when every enabled service is healthy and there is one, else 0",
    registers,
    collect() {
      ready.set(view().services.summary().isReady ? 1 : 0);
    },
  });
  const memory: Gauge = new Gauge({
    name: "holdfast_machine_agent_resident_bytes",
    help: "Memory of this process",
    registers,
    collect() {
      memory.set(process.memoryUsage.rss());
    },
  });
}

/** Fields of a card, each a metric. One that is unknown is left out: unknown is not zero. */
const GPU_FIELDS: readonly (readonly [string, string, (gpu: GpuFacts) => number | null])[] = [
  ["holdfast_gpu_memory_total_bytes", "Memory of a card", (gpu) => gpu.memoryTotalBytes],
  ["holdfast_gpu_memory_used_bytes", "Memory of a card in use", (gpu) => gpu.memoryUsedBytes],
  ["holdfast_gpu_utilization_ratio", "Share of time a card was busy", (gpu) => gpu.utilization],
  ["holdfast_gpu_temperature_celsius", "Temperature of a card", (gpu) => gpu.temperatureCelsius],
  ["holdfast_gpu_ok", "1 for a card without a fault", (gpu) => (gpu.health === "ok" ? 1 : 0)],
];

function addGpuMetrics(registry: Registry, view: () => MachineView): void {
  for (const [name, help, read] of GPU_FIELDS) {
    const gauge: Gauge<"gpu"> = new Gauge({
      name,
      help,
      labelNames: ["gpu"],
      registers: [registry],
      collect() {
        gauge.reset();
        for (const gpu of view().facts().gpus) {
          const value = read(gpu);
          if (value !== null) gauge.set({ gpu: String(gpu.index) }, value);
        }
      },
    });
  }
}
