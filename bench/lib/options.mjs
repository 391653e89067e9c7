/** Flags of the benches. `--quick` takes few samples; each bench adds its own. */
import { parseArgs } from "node:util";

/** Reads the flags of a bench; throws in words on one it does not know. */
export function readOptions(own = {}) {
  const options = { quick: { type: "boolean", default: false } };
  for (const name of Object.keys(own)) options[name] = { type: "string" };
  const { values } = parseArgs({ options, allowPositionals: false });
  const read = { quick: values.quick };
  for (const [name, fallback] of Object.entries(own)) {
    const given = values[name];
    const usual = typeof fallback === "function" ? fallback(values.quick) : fallback;
    if (given === undefined) read[name] = usual;
    else read[name] = typeof usual === "number" ? toNumber(name, given) : given;
  }
  return read;
}

function toNumber(name, text) {
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error(`--${name}: expected a number, found ${text}`);
  return value;
}
