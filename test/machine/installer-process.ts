/** An installer in a process of its own, for tests that kill it: ARGS are tools, root and manifest. */
import { systemClock } from "@holdfast/runtime/system";
import { createInstaller } from "../../packages/machine/src/install/installer.ts";
import { machinePlaces } from "../../packages/machine/src/machine-places.ts";
import { testSettings, toManifest, type InstallerTools } from "./installer-machine.ts";

const [tools = "", root = "", manifest = ""] = process.argv.slice(2);
const quiet = (): void => undefined;
const installer = createInstaller({
  ...toManifest(JSON.parse(manifest)),
  places: machinePlaces(root),
  settings: testSettings(JSON.parse(tools) as InstallerTools),
  clock: systemClock,
  log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  ports: {},
});
const outcome = await installer.install({
  signal: new AbortController().signal,
  onEvent: (event) => {
    if (event.kind === "step.started") process.stdout.write(`step ${event.id}\n`);
  },
});
process.stdout.write(`outcome ${outcome.kind}\n`);
