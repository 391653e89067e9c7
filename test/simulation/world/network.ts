/**
 * The network between agents, replicas and callers. A message takes a moment, may be lost on the way
 * there or back, may arrive twice, and goes nowhere while its ends are parted.
 */
import { abortReason, type Abortable, type Random } from "@holdfast/runtime";
import type { SimProcess } from "./process.ts";
import type { Timeline } from "./timeline.ts";
import type { Trace } from "./trace.ts";

/** How bad the network is now. */
export interface Weather {
  /** Share of messages that get lost, each way. */
  loss: number;
  /** Share of requests that arrive twice. */
  doubled: number;
  /** Longest time of a message on its way; it is 0.5 ms at least. */
  slowestMs: number;
}

/** A place of the network that answers: it may be down, and then connections are refused. */
export interface Server<A> {
  readonly name: string;
  /** What answers there now; undefined: nothing listens. */
  current(): { readonly process: SimProcess; readonly api: A } | undefined;
}

/** One way through the network: from a process to servers, of which it tries one after the other. */
export interface Route<A> {
  /**
   * Calls a server. Rejects with the signal's reason when aborted; with a plain error when the
   * connection is refused or breaks, or when nothing came within `limitMs`; and with what the server
   * throws.
   */
  call<T>(
    what: string,
    signal: Abortable | undefined,
    limitMs: number,
    run: (api: A, signal: AbortSignal) => Promise<T>,
  ): Promise<T>;
}

/** See the header. */
export interface Network {
  readonly weather: Weather;
  /** Names of places that are cut off: refused at once, or swallowed. */
  readonly parted: Map<string, "refused" | "silent" | "one_way">;
  route<A>(
    from: SimProcess,
    place: string,
    servers: readonly Server<A>[],
    random: Random,
  ): Route<A>;
}

const FASTEST_MS = 0.5;
/** What the weather is when nothing is wrong. */
export const FAIR: Weather = { loss: 0, doubled: 0, slowestMs: 4 };

/** Makes a network in fair weather. */
export function createNetwork(timeline: Timeline, trace: Trace): Network {
  const weather: Weather = { ...FAIR };
  const parted: Network["parted"] = new Map();
  return {
    weather,
    parted,
    route<A>(from: SimProcess, place: string, servers: readonly Server<A>[], random: Random) {
      let preferred = Math.floor(random.next() * servers.length);
      const latency = (): number =>
        FASTEST_MS + random.next() ** 3 * (weather.slowestMs - FASTEST_MS);
      return {
        call: <T>(
          what: string,
          signal: Abortable | undefined,
          limitMs: number,
          run: (api: A, gone: AbortSignal) => Promise<T>,
        ) =>
          new Promise<T>((resolve, reject) => {
            if (signal?.aborted === true) {
              reject(abortReason(signal) as Error);
              return;
            }
            let isOver = false;
            const watches: (() => void)[] = [];
            const gone = new AbortController();
            const end = (settle: () => void): void => {
              if (isOver) return;
              isOver = true;
              limit.cancel();
              for (const forget of watches) forget();
              signal?.removeEventListener("abort", onAbort);
              settle();
            };
            const fail = (message: string): void => {
              from.deliver(() =>
                end(() => {
                  preferred += 1;
                  trace.note(from.name, "net", what, message);
                  reject(new Error(`${message} (simulated)`));
                }),
              );
            };
            const onAbort = (): void => {
              // The other end learns of it, if the connection still stands.
              timeline.after(latency(), () => gone.abort());
              end(() => reject(abortReason(signal as Abortable) as Error));
            };
            signal?.addEventListener("abort", onAbort, { once: true });
            const limit = from.after(limitMs, () => fail("timed out"));
            const server = servers[preferred % servers.length] as Server<A>;

            const arrive = (): void => {
              const isParted = parted.get(place);
              if (isParted === "refused") return fail("connection refused");
              if (isParted === "silent") return;
              const there = server.current();
              if (there === undefined) return fail("connection refused");
              there.process.deliver(() => {
                trace.note(server.name, "net", `${what} from ${from.name}`, "");
                run(there.api, gone.signal).then(
                  (value) => reply(there.process, () => resolve(value), "answered"),
                  (error: unknown) =>
                    reply(there.process, () => reject(error as Error), `threw ${String(error)}`),
                );
              });
              // A server that dies takes its connections with it.
              const watch = there.process.onKill(() => {
                timeline.after(latency(), () => fail("connection reset"));
              });
              if (isOver) watch();
              else watches.push(watch);
            };
            const reply = (at: SimProcess, settle: () => void, outcome: string): void => {
              if (!at.isAlive()) return;
              const isLost = random.next() < weather.loss;
              timeline.after(latency(), () => {
                const isParted = parted.get(place);
                if (isParted === "silent" || isParted === "one_way") return;
                if (isParted === "refused") return fail("connection reset");
                if (isLost) return fail("answer lost");
                from.deliver(() =>
                  end(() => {
                    trace.note(from.name, "net", what, outcome);
                    settle();
                  }),
                );
              });
            };
            if (random.next() < weather.loss) {
              timeline.after(latency(), () => fail("request lost"));
              return;
            }
            timeline.after(latency(), arrive);
            if (random.next() < weather.doubled) timeline.after(latency() + 20, arrive);
          }),
      };
    },
  };
}
