import { tryPort } from "@holdfast/runtime/host";
import type { LinkTrial, LossyLinkOptions } from "./link.ts";

const HOST = "127.0.0.1";
const PROGRAM = "toxiproxy-server";
const START_LIMIT_MS = 10_000;
const ASK_EVERY_MS = 50;
const CALL_LIMIT_MS = 5_000;
/** A retransmission's delay, give or take as much. */
const LATE_MS = 400;

/**
 * A toxiproxy-server from PATH. It has no loss of packets; what comes nearest is that of all connections
 * some are late, as by retransmissions, and some are reset.
 */
export async function openToxiproxyLink(options: LossyLinkOptions): Promise<LinkTrial> {
  const { programs, clock, share } = options;
  const notHere = (why: string): LinkTrial => ({ kind: "not_here", why: `toxiproxy: ${why}` });
  const free = await tryPort(HOST, 0);
  if (free.kind !== "free") return notHere(`no free port on ${HOST}`);
  const base = `http://${HOST}:${free.port}`;
  const server = await programs.start(PROGRAM, ["-host", HOST, "-port", String(free.port)]);
  if (server === undefined) return notHere(`there is no program ${PROGRAM}`);
  const deadline = clock.elapsed() + START_LIMIT_MS;
  while (!(await answers(base))) {
    if (clock.elapsed() > deadline) {
      await server.kill();
      return notHere(`${PROGRAM} does not answer`);
    }
    await clock.sleep(ASK_EVERY_MS);
  }
  const names: string[] = [];
  const percent = Math.round(share * 100);
  return {
    kind: "open",
    link: {
      kind: "toxiproxy",
      words: `toxiproxy: ${percent} % of the connections late by ${LATE_MS} ms or so, and ${percent} % reset`,
      prefix: [],
      host: HOST,
      async urlOf(host, port) {
        const name = `comfyui-${names.length + 1}`;
        const made = (await post(`${base}/proxies`, {
          name,
          listen: `${HOST}:0`,
          upstream: `${host}:${port}`,
        })) as { readonly listen: string };
        names.push(name);
        return `http://${made.listen}`;
      },
      async begin() {
        for (const name of names) {
          const toxics = `${base}/proxies/${name}/toxics`;
          for (const stream of ["upstream", "downstream"]) {
            const attributes = { latency: LATE_MS, jitter: LATE_MS / 2 };
            await post(toxics, { type: "latency", stream, toxicity: share, attributes });
          }
          await post(toxics, { type: "reset_peer", toxicity: share, attributes: { timeout: 0 } });
        }
      },
      end: async () => void (await post(`${base}/reset`, {})),
      lost: () => Promise.resolve(null),
      close: () => server.kill(),
    },
  };
}

async function answers(base: string): Promise<boolean> {
  try {
    return (await fetch(`${base}/version`, { signal: AbortSignal.timeout(CALL_LIMIT_MS) })).ok;
  } catch {
    return false;
  }
}

async function post(url: string, body: unknown): Promise<unknown> {
  const answer = await fetch(url, {
    method: "POST",
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(CALL_LIMIT_MS),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`toxiproxy: ${url}: ${answer.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}
