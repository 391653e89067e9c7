/** A process that downloads one file, to be killed: URL, SHA-256, target, folder of kept parts. */
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { downloadFile } from "../src/install/models/download.ts";
import { createDownloadSource } from "../src/install/models/http-source.ts";

const [url = "", sha256 = "", target = "", partialFolder = ""] = process.argv.slice(2);
const source = createDownloadSource({ auth: [] });
const outcome = await downloadFile(
  { url, sha256, sizeBytes: null, licence: null, target, partialFolder, mayReplace: () => false },
  { source, clock: systemClock, random: seededRandom(1) },
  new AbortController().signal,
);
await source.close();
process.stdout.write(`outcome ${JSON.stringify(outcome)}\n`);
