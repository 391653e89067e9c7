#!/usr/bin/env node
// Committed as it is, because npm links a workspace's bin only when the file is there at install.
// Plain JavaScript without syntax that an old Node would choke on before it can be told so.
import { existsSync } from "node:fs";

const OLDEST_NODE = [20, 19];
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
  process.stderr.write(
    `holdfast needs Node ${OLDEST_NODE.join(".")} or newer; this is Node ${process.versions.node}.\n`,
  );
  process.exitCode = 1;
} else if (!existsSync(new URL("../dist/main.js", import.meta.url))) {
  process.stderr.write("holdfast is not built yet: run npm run build\n");
  process.exitCode = 1;
} else {
  const { main } = await import("../dist/main.js");
  await main(process.argv);
}
