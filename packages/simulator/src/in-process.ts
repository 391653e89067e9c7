import { Front, type Admission, type AskedRequest } from "./front.ts";
import { serverError, type Reply } from "./http/reply.ts";
import { DEFAULTS, type SimulatorOptions } from "./options.ts";
import { Simulation, type SimulatorFaults, type SimulatorStats } from "./simulation.ts";
import type { HubSocket } from "./sockets.ts";

/** What becomes of a request: an answer, a broken connection, or nobody who listens. */
export type InProcessAnswer = Reply | "cut" | "refused";

/**
 * A simulated ComfyUI that listens nowhere: called directly, for tests on a clock that is not the
 * machine's. Everything but the network is what `startSimulator` has.
 */
export interface InProcessSimulator {
  readonly faults: SimulatorFaults;
  /** Whether the simulated process lives, and would be listening. */
  isUp(): boolean;
  /** Kills the simulated process as signal 9 would; it comes back after `downMs`, null is never. */
  crash(downMs?: number | null): void;
  /** Ends the process if one lives, and starts another at once. */
  restart(): void;
  stats(): SimulatorStats;
  request(asked: AskedRequest): Promise<InProcessAnswer>;
  /** Asks for a socket; when admitted, {@link attach} takes it over. */
  admit(asked: Pick<AskedRequest, "headers" | "url">): Promise<Admission | "refused">;
  attach(socket: HubSocket, clientId: string): void;
  /** Ends everything. Safe to call twice. */
  stop(): void;
}

/** Makes a simulator of this process and starts it. `host` and `port` mean nothing to it. */
export function createInProcessSimulator(options: SimulatorOptions): InProcessSimulator {
  const simulation = new Simulation(options);
  const stopping = new AbortController();
  const front = new Front(simulation, options, stopping.signal);
  let isUp = true;
  let comeback = new AbortController();

  const start = (): void => {
    if (stopping.signal.aborted) return;
    comeback.abort();
    isUp = true;
    simulation.start();
  };
  simulation.onCrash = (downMs) => {
    isUp = false;
    comeback = new AbortController();
    if (downMs === null) return;
    options.clock.sleep(downMs, comeback.signal).then(start, () => undefined);
  };
  /** The end of the process that lives now breaks whatever it was asked. */
  const untilDeath = <T>(answer: Promise<T>): Promise<T | "cut"> => {
    const { signal } = simulation.state.life;
    return new Promise((resolve) => {
      const onDeath = (): void => resolve("cut");
      signal.addEventListener("abort", onDeath, { once: true });
      void answer.then((value) => {
        signal.removeEventListener("abort", onDeath);
        resolve(signal.aborted ? "cut" : value);
      });
    });
  };

  simulation.start();
  return {
    faults: simulation.faults,
    isUp: () => isUp,
    crash: (downMs) =>
      simulation.crash(
        downMs === undefined ? (options.restartDelayMs ?? DEFAULTS.restartDelayMs) : downMs,
      ),
    restart: () => {
      simulation.crash(null);
      start();
    },
    stats: () => simulation.stats(),
    request: async (asked) => {
      if (!isUp) return "refused";
      return untilDeath(front.answer(asked).catch(() => serverError()));
    },
    admit: async (asked) => {
      if (!isUp) return "refused";
      const admission = await untilDeath(front.admit(asked));
      return admission === "cut" ? "refused" : admission;
    },
    attach: (socket, clientId) => simulation.hub.attach(socket, clientId),
    stop: () => {
      stopping.abort();
      comeback.abort();
      isUp = false;
      simulation.end();
    },
  };
}
