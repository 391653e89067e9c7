import type { Random } from "@holdfast/runtime";
import { tryPort } from "@holdfast/runtime/host";

/** Below the ports that systems give to outgoing connections: one of those would take it before its server does. */
const PORTS_FROM = 20_000;
const PORTS = 12_000;
const TRIES = 100;

/** A port of loopback that nobody listens on. */
export async function choosePort(random: Random): Promise<number> {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const port = PORTS_FROM + Math.floor(random.next() * PORTS);
    if ((await tryPort("127.0.0.1", port)).kind === "free") return port;
  }
  throw new Error(`no free port among ${PORTS} from ${PORTS_FROM}`);
}
