import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { SILENT_LOG } from "../../packages/control-plane/src/platform/log.ts";
import { createEmbeddedPostgres } from "../../packages/control-plane/src/platform/postgres/embedded-postgres.ts";

// Starts an embedded Postgres on the folder given, says so, and waits to be killed.
const [dir, isJoining] = process.argv.slice(2);
if (dir === undefined) throw new Error("usage: embedded-postgres-starter FOLDER [join]");
const postgres = createEmbeddedPostgres({
  dir,
  clock: systemClock,
  random: systemRandom,
  log: SILENT_LOG,
  join: isJoining === "join",
});
await postgres.start();
console.log(`ready ${postgres.pid()} ${postgres.connection().port}`);
process.once("SIGTERM", () => void postgres.stop().then(() => process.exit(0)));
