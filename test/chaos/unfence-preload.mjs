// Takes the fence out of a process that is started with `--import` of this file: statements that go to
// Postgres under the names in HOLDFAST_TEST_STATEMENT_EDITS (JSON: name → [from, to][]) are sent with
// their text edited. It stands at the driver, so that production code has no switch for it. A text that
// lacks what is to be replaced ends the process: a twin that runs fenced would prove nothing.
import { writeSync } from "node:fs";
import { createRequire } from "node:module";

const requireAsControlPlane = createRequire(
  new URL("../../packages/control-plane/package.json", import.meta.url),
);
const { Client } = requireAsControlPlane("pg");
const allEdits = JSON.parse(process.env.HOLDFAST_TEST_STATEMENT_EDITS ?? "{}");
const seen = new Set();

function edited(config) {
  const edits = allEdits[config?.name];
  if (edits === undefined) return config;
  let { text } = config;
  for (const [from, to] of edits) {
    if (!text.includes(from)) {
      writeSync(2, `unfence: ${config.name} has no "${from}" any more\n`);
      process.exit(70);
    }
    text = text.replace(from, () => to);
  }
  if (!seen.has(config.name)) writeSync(2, `unfenced ${config.name}\n`);
  seen.add(config.name);
  return { ...config, name: `${config.name}.unfenced`, text };
}

const { query } = Client.prototype;
Client.prototype.query = function unfencedQuery(config, ...rest) {
  return query.call(this, edited(config), ...rest);
};
