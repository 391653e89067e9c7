/** A process that downloads one file with Holdfast's downloader, and tells its time and its memory. */
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { downloadFile } from "../../packages/machine/dist/install/models/download.js";
import { createDownloadSource } from "../../packages/machine/dist/install/models/http-source.js";
import { now } from "./measure.mjs";

const [url, sha256, target, partialFolder] = process.argv.slice(2);
const source = createDownloadSource({ auth: [] });
const startedAt = now();
const cpuBefore = process.cpuUsage();
const outcome = await downloadFile(
  { url, sha256, sizeBytes: null, licence: null, target, partialFolder, mayReplace: () => false },
  { source, clock: systemClock, random: seededRandom(1) },
  new AbortController().signal,
);
const wallMs = now() - startedAt;
const cpu = process.cpuUsage(cpuBefore);
await source.close();
process.stdout.write(
  JSON.stringify({
    outcome,
    wallMs,
    cpuMs: (cpu.user + cpu.system) / 1000,
    maxRssMb: process.resourceUsage().maxRSS / 1024,
  }),
);
