/**
 * `node health.mjs control-plane|machine [--alive]`: what a HEALTHCHECK and an exec probe run, in images that
 * have no curl. Exits 0 when all is well, else 1, with one line that says why.
 *
 * A control plane is well when its database answers: what else a job needs (an instance, the store, no emergency
 * stop) is told and does not count, for agents and operators must reach it all the same. A machine is well when some
 * instance works (`healthy`, `degraded`); with `--alive`, when its agent answers whatever else is wrong:
 * restarting that one mends no card.
 */
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

/** Docker's own limit is longer, so that the reason gets out. */
const ANSWER_LIMIT_MS = 5_000;
const WELL = ["healthy", "degraded"];

/** What is asked, and what its answer comes to. Pure. */
export function probeOf(part, flags, env) {
  if (part === "control-plane") {
    return {
      url: `http://127.0.0.1:${env.HOLDFAST_PORT || 8328}/readyz?exclude=store,instance,hold`,
      tokenFile: undefined,
      judge: (status, body) => {
        const bad = (body?.checks ?? []).filter(({ ok }) => !ok);
        const reasons = bad.map(({ name, reason }) => `${name}: ${reason}`).join("; ");
        return { isWell: status === 200, text: `${status} ${reasons}` };
      },
    };
  }
  if (part === "machine") {
    return {
      url: `http://127.0.0.1:${env.HOLDFAST_HEALTH_PORT || 9090}/health`,
      tokenFile: env.HOLDFAST_HEALTH_TOKEN_FILE || undefined,
      judge: (status, body) => ({
        isWell: status === 200 && (flags.includes("--alive") || WELL.includes(body?.state)),
        text: `${status} ${body?.state ?? ""}: ${body?.reason ?? body?.error?.message ?? ""}`,
      }),
    };
  }
  throw new Error(`expected control-plane or machine, found ${part}`);
}

async function main([part, ...flags], env) {
  const { url, tokenFile, judge } = probeOf(part, flags, env);
  const headers =
    tokenFile === undefined
      ? {}
      : { authorization: `Bearer ${readFileSync(tokenFile, "utf8").trim()}` };
  const answer = await fetch(url, { headers, signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
  return judge(answer.status, await answer.json());
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { isWell, text } = await main(process.argv.slice(2), process.env).catch((error) => ({
    isWell: false,
    text: error.cause?.message ?? error.message,
  }));
  console.log(text);
  process.exitCode = isWell ? 0 : 1;
}
